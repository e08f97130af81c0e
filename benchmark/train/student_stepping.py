"""The state of a student's training and one step of it, on many devices."""

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from benchmark.networks.replay import Replayed, ReplayedDenoiser
from benchmark.networks.unet import Denoiser
from benchmark.problems.base import Problem
from benchmark.workers import Workers
from samplers.batches import Objective, mirrored
from samplers.distillation import Distillation, Stage, set_dropout
from samplers.errors import UserError
from samplers.options import configuration

MEMORY = ("exp_avg", "exp_avg_sq")
"""What the optimisers remember of a weight."""


class Length(NamedTuple):
    """Images of the whole training, over all stages, and of one step."""

    images: int
    batch: int


class StudentTraining:
    """The state of a student's training, and one step of it.

    Step k's examples and what the objective draws come from (seed, k) alone, and each process takes its part of them: a
    run goes on as if it had not stopped, also on another number of processes. On CUDA, forward and backward pass are
    replayed as one graph.

    Attributes:
        seconds: what the steps took.
        student, average, teacher: networks; the average is what samples, the teacher of the first stage the denoiser.

    Raises:
        UserError: the processes cannot share a step's images equally, or the denoiser is of another kind.
    """

    images_before = 0

    def __init__(self, sampler: Distillation, problem: Problem, nfe: int, workers: Workers) -> None:
        if sampler.batch % workers.count:
            raise UserError(f"{workers.count} processes cannot share a batch of {sampler.batch} images equally")
        self.sampler, self.problem, self.nfe, self.workers = sampler, problem, nfe, workers
        self.stages: list[Stage] = sampler.stages(problem, nfe)
        self.recipe = Length(sampler.steps * sampler.batch * len(self.stages), sampler.batch)
        self.step, self.seconds = 0, 0.0
        self.preparation = sampler.preparation(problem)
        self.examples = sampler.examples(problem)
        own, device = sampler.batch // workers.count, workers.device
        self.share = slice(workers.rank * own, (workers.rank + 1) * own)
        self.student, self.average, self.teacher = (plain_student(problem) for _ in range(3))
        for network in (self.average, self.teacher):
            network.requires_grad_(False)
        self.weights = list(self.student.requires_grad_(True).parameters())
        self.gradients = torch.zeros(sum(w.numel() for w in self.weights), device=device)  # one buffer to sum over
        parts = self.gradients.split([w.numel() for w in self.weights])
        self.views = [part.as_strided(w.shape, w.stride()) for w, part in zip(self.weights, parts, strict=True)]
        for weight, view in zip(self.weights, self.views, strict=True):
            weight.grad = view
        self.seeds, self.loss = torch.zeros(own, dtype=torch.int64, device=device), torch.zeros((), device=device)
        set_dropout(self.student, sampler.dropout, self.seeds)
        self.generator = torch.Generator(device)
        self.begin_stage()

    @property
    def stage(self) -> Stage:
        """The stage of the next step, or the last."""
        return self.stages[min(self.step // self.sampler.steps, len(self.stages) - 1)]

    @property
    def reached(self) -> Stage:
        """The stage of the step before: whose student the average is."""
        return self.stages[max(self.step - 1, 0) // self.sampler.steps]

    @property
    def seen(self) -> int:
        """Training images seen so far, over all processes and stages."""
        return self.step * self.sampler.batch

    def begin_stage(self) -> None:
        """Make the objective of the present stage, its optimiser, and the graph of its gradients."""
        self.objective: Objective = self.stage.objective(self.teacher)
        self.optimiser = self.sampler.make_optimiser(self.weights)
        self.drawn: tuple[Tensor, ...] = ()
        self.replayed = Replayed(self.compute_gradients, self.workers.device)

    def draw_batch(self) -> None:
        """Draw what the present step depends on, and keep this process's share."""
        sampler, generator, device = self.sampler, self.generator, self.workers.device
        generator.manual_seed((sampler.student_seed * 1_000_003 + self.step) * 4099)
        chosen = torch.randint(len(self.examples), (sampler.batch,), generator=generator, device=device)
        x0 = self.examples[chosen]
        x0 = mirrored(x0, generator) if sampler.mirror else x0
        drawn = self.objective.draw(x0, generator, self.step % sampler.steps * sampler.batch)
        shares = [values[self.share] for values in drawn]
        self.drawn = self.drawn or tuple(torch.empty_like(values) for values in shares)
        for kept, values in zip(self.drawn, shares, strict=True):
            kept.copy_(values)
        seeds = torch.randint(2**31, (sampler.batch,), generator=generator, device=device)
        self.seeds.copy_(seeds[self.share])

    @torch.enable_grad()
    def compute_gradients(self) -> None:
        """Loss and gradients of what was drawn."""
        loss = self.objective.errors(self.student, *self.drawn).mean()
        torch._foreach_copy_(self.views, torch.autograd.grad(loss, self.weights))
        self.loss.copy_(loss.detach())

    def learning_rate(self) -> float:
        """Rate of the present step."""
        return self.sampler.learning_rate(self.step % self.sampler.steps)

    @torch.no_grad()
    def train_step(self) -> Tensor:
        """Make one step; returns this process's mean loss, still on the device."""
        self.draw_batch()
        self.replayed()
        if self.workers.count > 1:
            dist.all_reduce(self.gradients)
            self.gradients /= self.workers.count
        if self.sampler.clip:
            self.gradients *= (self.sampler.clip / (self.gradients.norm() + 1e-6)).clamp(max=1)
        self.optimiser.param_groups[0]["lr"] = self.learning_rate()
        self.optimiser.step()
        weights: list[Tensor] = [weight.detach() for weight in self.weights]
        torch._foreach_lerp_(list[Tensor](self.average.parameters()), weights, 1 - self.sampler.average)
        self.step += 1
        if self.step % self.sampler.steps == 0 and self.step < self.sampler.steps * len(self.stages):
            for network in (self.student, self.teacher):
                network.load_state_dict(self.average.state_dict())
            self.begin_stage()
        return self.loss.clone()

    def diverged(self) -> bool:
        """Whether the weights are no numbers any more, though the loss of the step before may still have been one."""
        return not torch.stack([weight.isfinite().all() for weight in self.average.parameters()]).all()

    def settings(self) -> dict[str, Any]:
        """What a run that goes on from this one's state must share."""
        return {"method": self.sampler.title, "nfe": self.nfe, **configuration(self.sampler)}

    def facts(self) -> dict[str, Any]:
        """Where the run stands, JSON-ready."""
        return {"step": self.step, "seconds": self.seconds, "settings": self.settings()}

    def networks(self) -> dict[str, Denoiser]:
        """The networks by name."""
        return {"student": self.student, "average": self.average, "teacher": self.teacher}

    def tensors(self) -> dict[str, Tensor]:
        """All tensors from which the run can go on."""
        found = {
            f"network.{kind}.{name}": tensor
            for kind, network in self.networks().items()
            for name, tensor in network.state_dict().items()
        }
        for name, weight in self.student.named_parameters():
            memory = self.optimiser.state.get(weight, {})
            found |= {f"{kind}.{name}": memory[kind] for kind in MEMORY if kind in memory}
        return found

    def load_state(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Go on from :meth:`facts` and :meth:`tensors`; the number of processes may be another.

        Raises:
            ValueError: they belong to other settings or another network.
        """
        for name, value in self.settings().items():
            if (found := facts["settings"].get(name)) != value:
                raise ValueError(f"it was made with {name} {found}, this run has {value}")
        self.step, self.seconds = facts["step"], facts["seconds"]
        try:
            for kind, network in self.networks().items():
                network.load_state_dict({n: tensors[f"network.{kind}.{n}"] for n in network.state_dict()})
            self.begin_stage()
            if made := self.step - self.steps_before():
                self.recall(made, tensors)
        except (KeyError, RuntimeError):  # a tensor that is missing, or of another shape
            raise ValueError("it belongs to another network") from None

    def steps_before(self) -> int:
        """Steps of the stages before the present one."""
        return self.stages.index(self.stage) * self.sampler.steps

    def recall(self, made: int, tensors: dict[str, Tensor]) -> None:
        """Give the optimiser what it remembered after ``made`` steps of its stage."""
        for name, weight in self.student.named_parameters():
            fused = self.optimiser.defaults.get("fused")
            step = torch.tensor(float(made), device=weight.device if fused else "cpu")
            kept = {kind: torch.empty_like(weight).copy_(tensors[f"{kind}.{name}"]) for kind in MEMORY}
            self.optimiser.state[weight] = {"step": step, **kept}


def plain_student(problem: Problem) -> Denoiser:
    """A copy of the problem's denoiser whose evaluations are not replayed: they become part of a larger graph.

    Raises:
        UserError: it is no network of this project, which checkpoints of students hold.
    """
    network = problem.student()
    if isinstance(network, ReplayedDenoiser):
        network = network.denoiser
    if not isinstance(network, Denoiser):
        raise UserError(f"{problem.name}: students are trained of this project's own networks alone")
    return network.eval()
