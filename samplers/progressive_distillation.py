"""Progressive distillation: every student takes one step where its teacher takes two."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from samplers.base import Denoiser, FittedStudent, Problem
from samplers.distillation import Distillation, Loss, draw_levels, frozen, new_student, noised, weights_sha256
from samplers.errors import UserError
from samplers.noise import ShardNoise
from samplers.options import check_at_least
from samplers.registry import register


def cosine_grid(steps: int, sigma_max: float) -> Tensor:
    """σ(t) = tan(πt/2), the cosine schedule, at steps + 1 equal times from σ_max down to 0; float64 [steps + 1].

    Every second level of a grid of 2N steps is the grid of N steps, which halving the steps needs.
    """
    return torch.tan(math.atan(sigma_max) * torch.linspace(1, 0, steps + 1, dtype=torch.float64))


def lowest_level(steps: int, problem: Problem) -> float:
    """The last σ at which so many steps from the problem's σ_max ask a denoiser."""
    return float(cosine_grid(steps, problem.sigma_max)[-2])


def ddim_step(denoiser: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """One deterministic DDIM step of x [B, ...]; levels [] or [B, 1, ...]."""
    x0 = denoiser(x, sigma.flatten() if sigma.ndim else sigma)
    return x0 + sigma_next / sigma * (x - x0)


def progressive_target(teacher: Denoiser, x: Tensor, sigma: Tensor, middle: Tensor, end: Tensor) -> Tensor:
    """The x0 with which one DDIM step from σ to `end` lands where two of the teacher's land (algorithm 2, in σ).

    x [B, ...]; levels [B, 1, ...] with σ > middle > end ≥ 0.
    """
    landed = ddim_step(teacher, ddim_step(teacher, x, sigma, middle), middle, end)
    ratio = end / sigma
    return (landed - ratio * x) / (1 - ratio)


@register("progressive-distillation")
@dataclass(frozen=True)
class ProgressiveDistillation(Distillation):
    """Students that take one DDIM step in the place of their teacher's two, until `nfe` steps are left (algorithm 2).

    The first teacher is the denoiser itself; its steps are the least nfe·2^k that are at least `teacher` (and 2·nfe),
    or fewer where these would ask it below its lowest level. Levels follow the cosine schedule, the loss in x0 is
    weighted by the truncated SNR, max(1/σ², 1) (section 4).

    Attributes:
        teacher: the fewest steps of the first teacher, where the denoiser's levels allow so many.
    """

    title = "progressive distillation"
    summary = "students that halve the steps of DDIM, again and again"
    paper = "Salimans, Ho 2022, arXiv 2202.00512"

    teacher: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 2, "teacher")

    def suits(self, problem: Problem, nfe: int) -> None:
        super().suits(problem, nfe)
        if lowest_level(2 * nfe, problem) < problem.sigma_min:
            raise UserError(
                f"would ask the denoiser of {problem.name} below its σ_min = {problem.sigma_min:g} in {2 * nfe} steps, "
                f"the fewest that a teacher of {nfe} takes"
            )

    def chain(self, problem: Problem, nfe: int) -> list[int]:
        """The steps of the students, decreasing to `nfe`."""
        steps = [nfe]
        while 2 * steps[0] < self.teacher and lowest_level(4 * steps[0], problem) >= problem.sigma_min:
            steps.insert(0, 2 * steps[0])
        return steps

    def fit(self, problem: Problem, nfe: int, progress: bool = False) -> FittedStudent:
        self.check(nfe)
        self.suits(problem, nfe)
        teacher: Denoiser = problem.denoiser
        student, chain, seconds = new_student(problem), self.chain(problem, nfe), 0.0
        for steps in chain:
            loss = self.loss(teacher, cosine_grid(2 * steps, problem.sigma_max).to(problem.device))
            what = f"progressive distillation from {2 * chain[0]} to {steps} steps"
            seconds += self.train(problem, student, loss, what, progress)
            teacher = frozen(problem, student)
        grid = cosine_grid(nfe, problem.sigma_max)

        def sample(denoiser: Denoiser, noise: ShardNoise) -> Tensor:
            x = problem.sigma_max * noise.initial()
            for sigma, sigma_next in pairwise(grid):
                x = ddim_step(denoiser, x, sigma, sigma_next)
            return x

        images = self.steps * self.batch * len(chain)
        info: dict[str, Any] = {"students": chain, "images": images, "teacher_evaluations": 2 * images}
        info["weights_sha256"] = weights_sha256(student)
        return FittedStudent(sample, denoiser=teacher, seconds=seconds, info=info)

    @staticmethod
    def loss(teacher: Denoiser, grid: Tensor) -> Loss:
        """Of a student that takes half the steps of `teacher` on `grid` [2·steps + 1]."""
        levels = torch.stack([grid[:-2:2], grid[1:-1:2], grid[2::2]], dim=1)

        def loss(student: nn.Module, x0: Tensor, generator: torch.Generator) -> Tensor:
            sigma, middle, end = draw_levels(levels, x0, generator)
            x = noised(x0, sigma, generator)
            with torch.no_grad():
                target = progressive_target(teacher, x, sigma, middle, end)
            weight = (1 / sigma**2).clamp(min=1)
            return (weight * (student(x, sigma.flatten()) - target) ** 2).mean()

        return loss
