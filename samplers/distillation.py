"""Distillation: a student network learns to do in a few evaluations what the denoiser does in many.

The student starts as a copy of the problem's denoiser and takes its place in sampling; evaluations are counted as ever.
What its training cost stands in the record of the fit.
"""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from time import perf_counter
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from dpmot.progress import progress_bar
from samplers.base import Denoiser, FittedStudent, Problem, Sampler
from samplers.batches import Objective, mirrored
from samplers.cudnn import fastest_convolutions
from samplers.errors import UserError
from samplers.noise import ShardNoise, stream
from samplers.options import added, check_at_least, check_positive

EXAMPLES, BYTES = 50_000, 1 << 33
"""Students learn from the first training examples of the split: so many at most, and no more than fill 8 GiB."""
LOOK = 200
"""Steps between two looks at whether the loss is finite, which wait for the device."""


@dataclass(frozen=True)
class Stage:
    """One of the trainings of a student: its first teacher is the denoiser, each later one the student before.

    Attributes:
        what: what is learned; with the options of the training the key under which the problem remembers it.
        objective: of a student of this teacher.
        nfe: the budget that a student of this stage serves.
    """

    what: str
    objective: Callable[[Denoiser], Objective]
    nfe: int


@dataclass(frozen=True)
class Distillation(Sampler):
    """Base of the distilled samplers: how a student is trained.

    Its noise is drawn on the problem's device, on which the student therefore depends; on a GPU two trainings differ by
    rounding, as the fastest convolutions are chosen by measurement.

    One training serves all seeds of sampling, so the spread over seeds says nothing of that over trainings.

    Attributes:
        images: training examples that every student sees, repetitions counted.
        batch: of them at a time.
        lr: learning rate of the optimiser at its highest.
        student_seed: seed of the training.
        optimiser: `adam`, or `radam` (Liu et al. 2020, arXiv 1908.03265).
        rate: the learning rate is `falling` linearly to zero from the start, or `constant`.
        warmup: images over which it rises linearly before.
        clip: largest norm of the gradient; 0 for any.
        mirror: half of the images are mirrored.
        average: decay of the moving average of the weights at every step, which then samples; 0 for the last weights.
        dropout: probability, in a network that has it.
        student: a student that was trained before (`python -m benchmark.train student`): a file, or the name of one
            that comes with the problem. Empty: trained now, or remembered.

    Class attributes:
        betas: of the optimiser.
        any_budget: whether a student serves other budgets than that for which it was trained.
    """

    family = "distilled"
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    any_budget: ClassVar[bool] = False

    images: int = 50_000
    batch: int = 128
    lr: float = 3e-4
    student_seed: int = 0
    optimiser: Literal["adam", "radam"] = added("adam")
    rate: Literal["falling", "constant"] = added("falling")
    warmup: int = added(0)
    clip: float = added(0.0)
    mirror: bool = added(False)
    average: float = added(0.0)
    dropout: float = added(0.0)
    student: str = added("")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "images", "batch")
        check_at_least(self, 0, "warmup", "clip")
        check_positive(self, "lr")
        for name in ("average", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 0 and below 1, got {getattr(self, name):g}")

    @abstractmethod
    def stages(self, problem: Problem, nfe: int) -> list[Stage]:
        """Plan the trainings of a student for a budget of `nfe` evaluations, in their order."""

    @abstractmethod
    def cost(self, problem: Problem, nfe: int) -> dict[str, Any]:
        """State what the trainings take, for the record: `images` seen, `teacher_evaluations` among it."""

    @abstractmethod
    def sampling(self, problem: Problem, nfe: int) -> Callable[[Denoiser, ShardNoise], Tensor]:
        """How samples of one shard [S, ...] are drawn with the student's network."""

    def preparation(self, problem: Problem) -> float:
        """Prepare what the stages learn from, and give the seconds that this took, now or before."""
        return 0.0

    def evaluated(self, problem: Problem, student: nn.Module) -> Denoiser:
        """What sampling evaluates of a student."""
        return student

    def fingerprint(self, problem: Problem) -> dict[str, Any]:
        return {"student_sha256": problem.trained_hash(self.student)} if self.student else {}

    def suits(self, problem: Problem, nfe: int) -> None:
        if not problem.trainable:
            raise UserError(f"learns from a network, and the denoiser of {problem.name} is a formula")
        if self.mirror and len(problem.shape) != 3:
            raise UserError(f"mirror is for images, and a sample of {problem.name} is none")

    @property
    def steps(self) -> int:
        """Steps of the optimiser that show a student at least `images` examples."""
        return math.ceil(self.images / self.batch)

    def check(self, nfe: int) -> None:
        if nfe < 1:
            raise UserError(f"needs at least 1 evaluation, got {nfe}")

    def fit(self, problem: Problem, nfe: int, progress: bool = False) -> FittedStudent:
        self.check(nfe)
        self.suits(problem, nfe)
        if self.student:
            student, facts = problem.trained(self.student)
            self.check_trained(facts, nfe)
            seconds, cost = float(facts["seconds"]), {**facts["cost"], "student": facts}
        else:
            student, seconds = self.learn(problem, nfe, progress)
            cost = self.cost(problem, nfe)
        network = self.evaluated(problem, student.requires_grad_(False))
        info = {**cost, "weights_sha256": weights_sha256(student)}
        return FittedStudent(self.sampling(problem, nfe), denoiser=network, seconds=seconds, info=info)

    def check_trained(self, facts: dict[str, Any], nfe: int) -> None:
        """Raise UserError where a student, of which its file says `facts`, cannot sample with `nfe` evaluations."""
        if facts["method"] != self.title:
            raise UserError(f"student {self.student} is of {facts['method']}, not of {self.title}")
        if not self.any_budget and facts["nfe"] != nfe:
            raise UserError(f"student {self.student} was trained for {facts['nfe']} evaluations, not for {nfe}")

    def learn(self, problem: Problem, nfe: int, progress: bool) -> tuple[nn.Module, float]:
        """Train a student, stage by stage, or remember it; with the seconds that its training took."""
        student, teacher, seconds = new_student(problem), problem.denoiser, self.preparation(problem)
        for stage in self.stages(problem, nfe):
            seconds += self.train(problem, student, stage.objective(teacher), stage.what, progress)
            teacher = frozen(problem, student)
        return student, seconds

    def train(self, problem: Problem, student: nn.Module, loss: Objective, what: str, progress: bool) -> float:
        """Train `student` in place, or take the weights that this training gave before; the seconds that it took.

        Args:
            what: see `Stage`.

        Raises:
            RuntimeError: the training diverged.
        """
        shapes = [(name, tuple(weight.shape)) for name, weight in student.named_parameters()]
        changed = "".join(f"{name} {value}, " for name, value in self.settings().items())
        key = (
            f"{what}, {self.images} images, batch {self.batch}, lr {self.lr}, seed {self.student_seed}, {changed}"
            f"version {self.version}, levels from {problem.sigma_max} to {problem.sigma_min}, "
            f"{problem.device.type}, {shapes}"
        )

        def learn() -> Tensor:
            began = perf_counter()
            self._descend(problem, student, loss, what, progress)
            weights = torch.cat([weight.detach().flatten() for weight in student.parameters()])
            if not weights.isfinite().all():
                raise RuntimeError(f"{what}: the training diverged at lr = {self.lr:g}")
            return torch.cat([weights, weights.new_tensor([perf_counter() - began])])

        found = problem.remember(key, learn)
        weights = list(student.parameters())
        with torch.no_grad():
            for weight, values in zip(weights, found[:-1].split([w.numel() for w in weights]), strict=True):
                weight.copy_(values.reshape(weight.shape))
        return float(found[-1])

    def settings(self) -> dict[str, Any]:
        """Options of the training beyond the first ones, where they differ from those of this base."""
        later = {option.name: option.default for option in fields(Distillation) if option.metadata}
        return {name: getattr(self, name) for name in later if getattr(self, name) != later[name] and name != "student"}

    @torch.enable_grad()
    def _descend(self, problem: Problem, student: nn.Module, loss: Objective, what: str, progress: bool) -> None:
        examples = self.examples(problem)
        seed = stream("distillation", what, self.student_seed).initial_seed()
        generator = torch.Generator(problem.device).manual_seed(seed)
        weights = [*student.parameters()]
        averages = [weight.detach().clone() for weight in weights]
        optimiser = self.make_optimiser(weights)
        seeds = torch.zeros(self.batch, dtype=torch.int64, device=problem.device)
        set_dropout(student, self.dropout, seeds)
        with fastest_convolutions():
            for step in progress_bar(range(self.steps), what, leave=False, disable=not progress):
                optimiser.param_groups[0]["lr"] = self.learning_rate(step)
                chosen = torch.randint(len(examples), (self.batch,), generator=generator, device=problem.device)
                x0 = mirrored(examples[chosen], generator) if self.mirror else examples[chosen]
                if self.dropout:
                    seeds.random_(2**31, generator=generator)
                optimiser.zero_grad()
                value = loss(student, x0, generator, step * self.batch)
                value.backward()
                if step % LOOK == 0 and not value.isfinite():
                    raise RuntimeError(f"{what}: the training diverged at lr = {self.lr:g}, in step {step}")
                if self.clip:
                    nn.utils.clip_grad_norm_(weights, self.clip)
                optimiser.step()
                if self.average:
                    torch._foreach_lerp_(averages, [weight.detach() for weight in weights], 1 - self.average)
        set_dropout(student, 0.0, seeds)
        if self.average:
            with torch.no_grad():
                torch._foreach_copy_(list[Tensor](weights), averages)

    def examples(self, problem: Problem) -> Tensor:
        """What batches are drawn from, [N, ...], on the problem's device: the training examples."""
        count = min(EXAMPLES, max(BYTES // (4 * math.prod(problem.shape)), 1))
        return problem.examples("train", count).to(problem.device, problem.dtype)

    def make_optimiser(self, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Make the optimiser of a student's weights."""
        if self.optimiser == "radam":
            return torch.optim.RAdam(weights, self.lr, betas=self.betas)
        return torch.optim.Adam(weights, self.lr, betas=self.betas, fused=weights[0].is_cuda)

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step."""
        rate = self.lr * (1 - step / self.steps) if self.rate == "falling" else self.lr
        return rate * min(1.0, (step + 1) * self.batch / self.warmup) if self.warmup else rate


def new_student(problem: Problem) -> nn.Module:
    """A trainable copy of the problem's denoiser, on its device."""
    return problem.student().eval().requires_grad_(True)


def frozen(problem: Problem, student: nn.Module) -> nn.Module:
    """A copy of a student that no longer learns."""
    copy = new_student(problem)
    copy.load_state_dict(student.state_dict())
    return copy.requires_grad_(False)


def set_dropout(student: nn.Module, rate: float, seeds: Tensor) -> None:
    """Let the student drop values by the seeds [B] that its images then have; `rate` 0 for no dropout.

    Raises:
        UserError: its network has none.
    """
    networks: list[Any] = [module for module in student.modules() if hasattr(module, "set_dropout")]
    if rate and not networks:
        raise UserError("dropout is for networks of this project alone: set it to 0")
    for network in networks:
        network.set_dropout(rate, seeds)


def weights_sha256(student: nn.Module) -> str:
    """Hex SHA-256 of the weights: which student it was that sampled."""
    digest = hashlib.sha256()
    for weight in student.parameters():
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
