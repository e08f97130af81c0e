"""Consistency distillation: the student jumps from any point of a trajectory to its end."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from samplers.base import Denoiser, Problem
from samplers.batches import Objective, draw_levels, noised
from samplers.distillation import Distillation, Stage
from samplers.noise import Grid, ShardNoise, make_grid
from samplers.options import check_at_least
from samplers.registry import register

PSEUDO_HUBER = 0.00054
"""c of the pseudo-Huber distance, in units of √d (Song and Dhariwal 2023, section 3.3)."""


def heun_step(denoiser: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """One step of Heun's method on the probability flow dx/dσ = (x − D)/σ; levels [B, 1, ...], the next not 0."""
    slope = (x - denoiser(x, sigma.flatten())) / sigma
    ahead = x + (sigma_next - sigma) * slope
    return x + (sigma_next - sigma) / 2 * (slope + (ahead - denoiser(ahead, sigma_next.flatten())) / sigma_next)


@dataclass(frozen=True)
class ConsistencyFunction:
    """f(x, σ) = x + (1 − σ_min/σ)(D(x, σ) − x): the identity at σ_min, as a consistency function must be.

    With D in the preconditioning of EDM this is that of the paper (appendix C) up to terms of order σ_min/σ.
    """

    student: nn.Module
    sigma_min: float

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """x [B, ...], sigma [] or [B]; [B, ...]."""
        part = (1 - self.sigma_min / sigma).reshape(-1, *[1] * (x.ndim - 1))
        return x + part * (self.student(x, sigma) - x)


@dataclass(frozen=True)
class Consistency(Objective):
    """The values at neighbouring levels of one trajectory are to be equal (algorithm 2).

    Attributes:
        teacher: whose Heun step leads from a level to the next lower one.
        pairs: the neighbours, [levels - 1, 2].
        sigma_min: the lowest level, where the value is the point itself.
    """

    teacher: Denoiser
    pairs: Tensor
    sigma_min: float

    def draw(self, x0: Tensor, generator: torch.Generator, seen: int) -> tuple[Tensor, ...]:
        sigma, below = draw_levels(self.pairs, x0, generator)
        return noised(x0, sigma, generator), sigma, below

    def errors(self, student: nn.Module, *drawn: Tensor) -> Tensor:
        x, sigma, below = drawn
        consistent = ConsistencyFunction(student, self.sigma_min)
        with torch.no_grad():
            target = consistent(heun_step(self.teacher, x, sigma, below), below.flatten())
        c = PSEUDO_HUBER * math.sqrt(x[0].numel())
        square = (consistent(x, sigma.flatten()) - target).flatten(1).square().sum(1)
        return ((square + c**2).sqrt() - c) / (sigma - below).flatten()


@register("consistency-distillation")
@dataclass(frozen=True)
class ConsistencyDistillation(Distillation):
    """A student that maps every point of a trajectory to where the trajectory ends (algorithm 2 of Song et al. 2023).

    Its value at a level is drawn to its own, held fixed, at the next lower one, one Heun step of the denoiser further
    down (no moving average of the target, μ = 0, as theirs on CIFAR-10). Distances are pseudo-Huber, weighted by 1/Δσ,
    since no network for LPIPS comes with this suite (Song and Dhariwal 2023, arXiv 2310.14189). With several
    evaluations noise is put back between them (algorithm 1). One student serves every budget. It samples with its last
    weights; the paper takes a moving average (option `average`), whose place the falling learning rate takes here.

    Attributes:
        levels: noise levels of the training, N in the paper, on the grid of EDM.
        grid: of the levels at which sampling evaluates, which need not be levels of the training.
    """

    title = "consistency distillation"
    summary = "a student that jumps to the end of the trajectory; noise is put back between jumps"
    paper = "Song, Dhariwal, Chen, Sutskever 2023, arXiv 2303.01469"
    preset = {
        "optimiser": "radam",
        "rate": "constant",
        "lr": 4e-4,
        "batch": 512,
        "images": 409_600_000,
        "warmup": 10_000_000,
        "average": 0.9999,
        "mirror": True,
    }
    any_budget = True

    levels: int = 18
    grid: Grid = "edm"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 2, "levels")

    def stages(self, problem: Problem, nfe: int) -> list[Stage]:
        levels = make_grid("edm", self.levels - 1, problem.sigma_max, problem.sigma_min).to(problem.device)
        return [Stage(f"consistency of {self.levels} levels", lambda teacher: self.loss(teacher, levels), nfe)]

    def cost(self, problem: Problem, nfe: int) -> dict[str, Any]:
        images = self.steps * self.batch
        return {"images": images, "teacher_evaluations": 2 * images}

    def evaluated(self, problem: Problem, student: nn.Module) -> Denoiser:
        return ConsistencyFunction(student, problem.sigma_min)

    def sampling(self, problem: Problem, nfe: int) -> Callable[[Denoiser, ShardNoise], Tensor]:
        sigmas = make_grid(self.grid, nfe, problem.sigma_max, problem.sigma_min)[:-1]
        return lambda denoiser, noise: jump(denoiser, sigmas, problem.sigma_min, noise)

    @staticmethod
    def loss(teacher: Denoiser, levels: Tensor) -> Consistency:
        """Between neighbours of `levels` (decreasing to σ_min)."""
        return Consistency(teacher, torch.stack([levels[:-1], levels[1:]], dim=1), float(levels[-1]))


def jump(function: Denoiser, sigmas: Tensor, end: float, noise: ShardNoise) -> Tensor:
    """Jump from every level of `sigmas` to the end of the trajectory at `end`, noise put back between (algorithm 1)."""
    x = function(sigmas[0] * noise.initial(), sigmas[0])
    for sigma in sigmas[1:]:
        x = function(x + (sigma**2 - end**2).sqrt() * noise.step(), sigma)
    return x
