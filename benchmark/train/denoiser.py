"""Training a denoiser: EDM loss, Muon and Adam, weight average; on one device or on many by ``torchrun``."""

import json
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from tqdm import tqdm

from benchmark.networks.checkpoint import load_tensors, read_checkpoint, save_network
from benchmark.networks.unet import Denoiser, UNet
from benchmark.train.evaluate import denoising_loss, draw_samples, edm_loss, save_grid
from benchmark.train.images import Split, as_float, load_split
from benchmark.train.muon import Muon
from benchmark.train.recipes import DenoiserRecipe
from benchmark.train.replay import Replayed
from benchmark.train.workers import Workers

Measure = Callable[[Denoiser], dict[str, Any]]
"""Figures of a denoiser, for the log."""


class DenoiserTraining:
    """The state of a training run, and one step of it.

    Step k's images, flips, noise, noise levels and dropout come from (seed, k, rank) alone, so that a resumed run goes
    on exactly as if it had not stopped. On CUDA, forward and backward pass are replayed as one graph, and so is Muon's
    step: launched one by one, their kernels would keep the GPU waiting for Python.
    """

    def __init__(self, recipe: DenoiserRecipe, images: Tensor, workers: Workers, seed: int = 0):
        torch.manual_seed(seed)
        self.recipe, self.images, self.workers, self.seed, self.step = recipe, images, workers, seed, 0
        device = workers.device
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.denoiser = Denoiser(UNet(recipe.network), dtype).to(device)
        self.average = Denoiser(UNet(recipe.network), dtype).to(device).eval().requires_grad_(False)
        self.average.load_state_dict(self.denoiser.state_dict())
        self.parameters: list[Tensor] = list(self.network.parameters())
        self.gradients = torch.zeros(sum(p.numel() for p in self.parameters), device=device)  # one buffer to sum over
        parts = self.gradients.split([p.numel() for p in self.parameters])
        self._gradient_views = [
            part.as_strided(p.shape, p.stride()) for p, part in zip(self.parameters, parts, strict=True)
        ]
        for p, view in zip(self.parameters, self._gradient_views, strict=True):
            p.grad = view
        inner = [p for name, p in self.network.named_parameters() if p.dim() == 4 and not name.startswith("conv_")]
        chosen = set(inner)
        outer = [p for p in self.parameters if p not in chosen]
        rate = torch.tensor(recipe.lr, device=device) if device.type == "cuda" else recipe.lr  # read anew by the graph
        self.muon = Muon(inner, lr=rate, weight_decay=recipe.weight_decay)
        self.adam = torch.optim.Adam(outer, lr=rate, betas=(0.9, 0.99), fused=True)
        self.generator = torch.Generator(device)
        self.dropout_seed = torch.zeros(1, dtype=torch.int64, device=device)
        self.network.set_dropout(recipe.dropout, self.dropout_seed)
        shape = (recipe.batch, *images.shape[1:])
        self.x0, self.noise = torch.zeros(shape, device=device), torch.zeros(shape, device=device)
        self.sigma, self.loss = torch.ones(recipe.batch, device=device), torch.zeros((), device=device)
        self._gradients, self._muon = Replayed(self.compute_gradients, device), Replayed(self.muon.step, device)

    @property
    def network(self) -> UNet:
        """The network in training."""
        return self.denoiser.network

    @property
    def step_images(self) -> int:
        """Images of one step, over all processes."""
        return self.recipe.batch * self.workers.count

    @property
    def seen(self) -> int:
        """Training images seen so far, over all processes."""
        return self.step * self.step_images

    def draw_batch(self) -> None:
        """Draw images, noise levels and noise of the present step."""
        recipe, device, generator = self.recipe, self.workers.device, self.generator
        generator.manual_seed((self.seed * 1_000_003 + self.step) * 4099 + self.workers.rank)
        chosen = torch.randint(len(self.images), (recipe.batch,), device=device, generator=generator)
        x0 = as_float(self.images[chosen])
        if recipe.flips:
            flip = torch.rand(recipe.batch, 1, 1, 1, device=device, generator=generator) < 0.5
            x0 = torch.where(flip, x0.flip(3), x0)
        self.x0.copy_(x0)
        self.sigma.normal_(recipe.p_mean, recipe.p_std, generator=generator).exp_()
        self.noise.normal_(generator=generator)
        self.dropout_seed.random_(0, 2**31, generator=generator)

    def compute_gradients(self) -> None:
        """Loss and gradients of the drawn batch."""
        losses = edm_loss(self.denoiser, self.x0, self.sigma, self.noise, self.recipe.network.sigma_data)
        loss = losses.mean()
        torch._foreach_copy_(self._gradient_views, torch.autograd.grad(loss, self.parameters))
        self.loss.copy_(loss.detach())

    def learning_rate(self) -> float:
        """Linear warm-up, constant, then linear decay to zero."""
        done = self.seen / self.recipe.images
        warm = (self.step + 1) / self.recipe.warmup
        return self.recipe.lr * max(0.0, min(1.0, warm, (1 - done) / (1 - self.recipe.decay)))

    def train_step(self) -> Tensor:
        """One step; returns this process's mean loss, still on the device."""
        self.draw_batch()
        self._gradients()
        if self.workers.count > 1:
            dist.all_reduce(self.gradients)
            self.gradients /= self.workers.count
        self.gradients *= (self.recipe.clip / (self.gradients.norm() + 1e-6)).clamp(max=1)
        for optimiser in (self.muon, self.adam):
            for group in optimiser.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(self.learning_rate())
                else:
                    group["lr"] = self.learning_rate()
        self._muon()
        self.adam.step()
        self.step += 1
        weight = 1 - 0.5 ** (self.step_images / (self.recipe.ema * self.seen))
        with torch.no_grad():
            torch._foreach_lerp_([*self.average.network.parameters()], self.parameters, weight)
        return self.loss.clone()

    def state(self) -> dict[str, Any]:
        """Everything from which the run can go on."""
        return {
            "step": self.step,
            "seed": self.seed,
            "batch": self.step_images,
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "muon": self.muon.state_dict(),
            "adam": self.adam.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`; the number of processes may differ if the images of a step agree.

        Raises:
            ValueError: it belongs to another seed, batch or network.
        """
        if (state["seed"], state["batch"]) != (self.seed, self.step_images):
            found = f"seed {state['seed']} and {state['batch']} images a step"
            raise ValueError(f"it was made with {found}, this run has seed {self.seed} and {self.step_images}")
        try:
            self.network.load_state_dict(state["network"])
        except RuntimeError:
            raise ValueError("it belongs to another network") from None
        self.average.network.load_state_dict(state["average"])
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])
        self.step = state["step"]


@dataclass(frozen=True)
class Outputs:
    """What a training run writes, and how often (in images).

    Attributes:
        checkpoint: the averaged weights, at every evaluation.
        work: folder of the log (``log.jsonl``), sample grids and the state to resume from (``state.pt``).
        every: images between two evaluations, each of which also saves the state.
        command: stated in the checkpoint.
    """

    checkpoint: Path
    work: Path
    every: int
    command: str


def evaluate(training: DenoiserTraining, train: Split, test: Split, measure: Measure | None) -> dict[str, Any]:
    """Denoising losses of the averaged weights on both splits (as many images of each), and ``measure``'s figures."""
    recipe = training.recipe
    count = min(len(train.images), len(test.images))
    losses = {
        f"{name}_loss": denoising_loss(training.average, as_float(split.images[:count]), recipe.p_mean, recipe.p_std)
        for name, split in (("train", train), ("test", test))
    }
    return {**losses, **(measure(training.average) if measure else {})}


def train_denoiser(
    problem: str,
    recipe: DenoiserRecipe,
    outputs: Outputs,
    workers: Workers,
    data: str | None = None,
    seed: int = 0,
    resume: bool = False,
    init: Path | None = None,
    measure: Measure | None = None,
) -> dict[str, Any]:
    """Train, evaluate as it goes, and write the averaged weights; returns the last evaluation.

    Args:
        resume: go on from the state in ``outputs.work``.
        init: start from the weights of this checkpoint (with fresh optimisers and a fresh schedule); the images that it
            had seen are stated as ``images_before``.
        measure: further figures of the averaged denoiser, taken at every evaluation.

    Raises:
        ValueError: the state or the checkpoint can't be used (one line).
        DataError: the data are missing.
    """
    train, test = (load_split(problem, split, workers.device, data) for split in ("train", "test"))
    training = DenoiserTraining(recipe, train.images, workers, seed)
    stated: dict[str, Any] = {"problem": problem, "seed": seed, "images_before": 0}
    if init is not None:
        tensors, metadata = read_checkpoint(init)
        stated["images_before"] = sum(int(metadata.get(name, 0)) for name in ("images_before", "images_seen"))
        for network in (training.network, training.average.network):
            load_tensors(init, network, tensors)
    if resume:
        restore(training, outputs.work / "state.pt")
    lead = workers.rank == 0
    if lead:
        outputs.work.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {}
    total = -(-recipe.images // training.step_images)
    marks = {-(-k // training.step_images) for k in range(outputs.every, recipe.images, outputs.every)} | {total}
    bar = tqdm(total=recipe.images, initial=training.seen, unit="img", unit_scale=True, disable=not lead, mininterval=2)
    losses: list[Tensor] = []
    spent, started = 0.0, time.perf_counter()
    first = training.seen
    while training.step < total:
        losses.append(training.train_step())
        bar.update(training.step_images)
        if training.step not in marks:
            continue
        mean_loss = torch.stack(losses).mean().item()  # waits for the device
        losses.clear()
        spent += time.perf_counter() - started
        rate = (training.seen - first) / spent
        record = {"images": training.seen, "images_before": stated["images_before"]}
        record |= {"seconds": round(spent, 1), "images_per_second": round(rate, 1)}
        record |= {"running_loss": mean_loss} | evaluate(training, train, test, measure)
        if lead:
            try:
                keep(training, outputs, record, stated)
            except OSError as error:
                reason = error.strerror or error
                raise ValueError(f"{outputs.work}: cannot be written ({reason}); --resume goes on from there") from None
        if workers.count > 1:
            dist.barrier()
        started = time.perf_counter()
    bar.close()
    if lead:
        tqdm.write(f"wrote {outputs.checkpoint}")
    return record


def keep(training: DenoiserTraining, outputs: Outputs, record: dict[str, Any], stated: dict[str, Any]) -> None:
    """Append to the log, save the state, draw a grid of samples, write the checkpoint."""
    recipe = training.recipe
    with (outputs.work / "log.jsonl").open("a") as log:
        log.write(json.dumps(record) + "\n")
    tqdm.write(" ".join(f"{k}={v:.5g}" if isinstance(v, float) else f"{k}={v}" for k, v in record.items()))
    write_state(training, outputs.work / "state.pt")
    shape = (recipe.network.image_channels, *training.images.shape[2:])
    grid = draw_samples(training.average, shape, 100, training.workers.device)
    save_grid(grid, outputs.work / f"samples-{training.seen:09d}.png")
    stated = {**stated, "command": outputs.command, "images_seen": training.seen, **record}
    stated["recipe"] = {name: value for name, value in vars(recipe).items() if name != "network"}
    save_network(outputs.checkpoint, training.average.network, dtype=getattr(torch, recipe.store), **stated)


def write_state(training: DenoiserTraining, path: Path) -> None:
    """Save the state through a temporary file, so that a kill leaves the last one whole."""
    scratch = path.with_suffix(".tmp")
    try:
        torch.save(training.state(), scratch)
        scratch.replace(path)
    except RuntimeError as error:  # what a full disk gives here
        raise OSError(str(error).splitlines()[0]) from None
    finally:
        scratch.unlink(missing_ok=True)


def restore(training: DenoiserTraining, path: Path) -> None:
    """Load the state that :func:`write_state` wrote.

    Raises:
        ValueError: with one line, if there is none or it can't be used.
    """
    try:
        state = torch.load(path, map_location=training.workers.device, weights_only=True)
        training.load_state(state)
    except FileNotFoundError:
        raise ValueError(f"{path}: nothing to resume from") from None
    except (OSError, RuntimeError, KeyError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path}: cannot resume from it ({str(error).splitlines()[0]})") from None
