"""Consistency distillation: the student jumps from any point of a trajectory to its end."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from samplers.base import Denoiser, FittedStudent, Problem
from samplers.distillation import Distillation, Loss, draw_levels, new_student, noised, weights_sha256
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


@register("consistency-distillation")
@dataclass(frozen=True)
class ConsistencyDistillation(Distillation):
    """A student that maps every point of a trajectory to where the trajectory ends (algorithm 2 of Song et al. 2023).

    Its value at a level is drawn to its own, held fixed, at the next lower one, one Heun step of the denoiser further
    down (no moving average of the target, μ = 0, as theirs on CIFAR-10). Distances are pseudo-Huber, weighted by 1/Δσ,
    since no network for LPIPS comes with this suite (Song and Dhariwal 2023, arXiv 2310.14189). With several
    evaluations noise is put back between them (algorithm 1). One student serves every budget. It samples with its last
    weights; the paper takes a moving average, whose place the falling learning rate takes here.

    Attributes:
        levels: noise levels of the training, N in the paper, on the grid of EDM.
        grid: of the levels at which sampling evaluates, which need not be levels of the training.
    """

    title = "consistency distillation"
    summary = "a student that jumps to the end of the trajectory; noise is put back between jumps"
    paper = "Song, Dhariwal, Chen, Sutskever 2023, arXiv 2303.01469"

    levels: int = 18
    grid: Grid = "edm"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 2, "levels")

    def fit(self, problem: Problem, nfe: int, progress: bool = False) -> FittedStudent:
        self.check(nfe)
        self.suits(problem, nfe)
        student, sigma_min = new_student(problem), problem.sigma_min
        levels = make_grid("edm", self.levels - 1, problem.sigma_max, sigma_min)
        loss = self.loss(problem.denoiser, levels.to(problem.device))
        seconds = self.train(problem, student, loss, f"consistency of {self.levels} levels", progress)
        sigmas = make_grid(self.grid, nfe, problem.sigma_max, sigma_min)[:-1]

        def sample(denoiser: Denoiser, noise: ShardNoise) -> Tensor:
            x = denoiser(sigmas[0] * noise.initial(), sigmas[0])
            for sigma in sigmas[1:]:
                x = denoiser(x + (sigma**2 - sigma_min**2).sqrt() * noise.step(), sigma)
            return x

        function = ConsistencyFunction(student.requires_grad_(False), sigma_min)
        images = self.steps * self.batch
        info = {"images": images, "teacher_evaluations": 2 * images, "weights_sha256": weights_sha256(student)}
        return FittedStudent(sample, denoiser=function, seconds=seconds, info=info)

    @staticmethod
    def loss(teacher: Denoiser, levels: Tensor) -> Loss:
        """Between neighbours of `levels` (decreasing to σ_min)."""
        pairs = torch.stack([levels[:-1], levels[1:]], dim=1)

        def loss(student: nn.Module, x0: Tensor, generator: torch.Generator) -> Tensor:
            consistent = ConsistencyFunction(student, float(levels[-1]))
            sigma, below = draw_levels(pairs, x0, generator)
            x = noised(x0, sigma, generator)
            with torch.no_grad():
                target = consistent(heun_step(teacher, x, sigma, below), below.flatten())
            c = PSEUDO_HUBER * math.sqrt(x0[0].numel())
            square = (consistent(x, sigma.flatten()) - target).flatten(1).square().sum(1)
            return (((square + c**2).sqrt() - c) / (sigma - below).flatten()).mean()

        return loss
