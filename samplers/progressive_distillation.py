"""Progressive distillation: every student takes one step where its teacher takes two."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from samplers.base import Denoiser, Problem
from samplers.batches import Objective, draw_levels, noised
from samplers.denoisers import prepared
from samplers.distillation import Distillation, Stage
from samplers.errors import UserError
from samplers.noise import ShardNoise
from samplers.options import added, check_at_least
from samplers.registry import register


def cosine_grid(steps: int, sigma_max: float, sigma_min: float = 0.0) -> Tensor:
    """σ(t) = tan(πt/2), the cosine schedule, at steps + 1 equal times from σ_max to σ_min; float64 [steps + 1].

    The last step goes to 0 all the same. Every second level of a grid of 2N steps is the grid of N steps, which halving
    the steps needs.
    """
    start, stop = math.atan(sigma_max), math.atan(sigma_min)
    grid = torch.tan(stop + (start - stop) * torch.linspace(1, 0, steps + 1, dtype=torch.float64))
    grid[-1] = 0
    return grid


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


@dataclass(frozen=True)
class Halving(Objective):
    """One DDIM step of the student in the place of two of the teacher's (algorithm 2).

    Attributes:
        teacher: what takes two steps.
        levels: where a step of the student begins, has its middle, and ends, [steps, 3].
    """

    teacher: Denoiser
    levels: Tensor

    def draw(self, x0: Tensor, generator: torch.Generator, seen: int) -> tuple[Tensor, ...]:
        sigma, middle, end = draw_levels(self.levels, x0, generator)
        return noised(x0, sigma, generator), sigma, middle, end

    def errors(self, student: nn.Module, *drawn: Tensor) -> Tensor:
        x, sigma, middle, end = drawn
        with torch.no_grad():
            target = progressive_target(self.teacher, x, sigma, middle, end)
        weight = (1 / sigma**2).clamp(min=1)
        return weight * (student(x, sigma.flatten()) - target) ** 2


@register("progressive-distillation")
@dataclass(frozen=True)
class ProgressiveDistillation(Distillation):
    """Students that take one DDIM step in the place of their teacher's two, until `nfe` steps are left (algorithm 2).

    The first teacher is the denoiser itself; its steps are the least nfe·2^k that are at least `teacher` (and 2·nfe),
    or fewer where these would ask it below its lowest level. Levels follow the cosine schedule, the loss in x0 is
    weighted by the truncated SNR, max(1/σ², 1) (section 4).

    The authors' networks know levels from e^10 down to e^-10; the preset's schedule runs over those of the denoiser.

    Attributes:
        teacher: the fewest steps of the first teacher, where the denoiser's levels allow so many.
        schedule: equal times end at σ = 0 (`to-zero`), so that many steps ask for levels below the lowest; or at the
            lowest level (`to-lowest`), from which the last step goes to 0, as in the authors' code.
        clamp: x0 is held to the data's range, [-1, 1], in every step of sampling, as in the authors' code.
    """

    title = "progressive distillation"
    summary = "students that halve the steps of DDIM, again and again"
    paper = "Salimans, Ho 2022, arXiv 2202.00512"
    preset = {
        "teacher": 8192,
        "schedule": "to-lowest",
        "images": 6_400_000,
        "batch": 128,
        "lr": 5e-5,
        "clip": 1.0,
        "mirror": True,
        "clamp": True,
    }

    teacher: int = 64
    schedule: Literal["to-zero", "to-lowest"] = added("to-zero")
    clamp: bool = added(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 2, "teacher")

    def grid(self, steps: int, problem: Problem) -> Tensor:
        """The levels of so many steps, from the problem's σ_max to 0; float64 [steps + 1]."""
        return cosine_grid(steps, problem.sigma_max, problem.sigma_min if self.schedule == "to-lowest" else 0.0)

    def allows(self, steps: int, problem: Problem) -> bool:
        """Whether so many steps ask for no level below the denoiser's lowest."""
        return float(self.grid(steps, problem)[-2]) >= problem.sigma_min

    def suits(self, problem: Problem, nfe: int) -> None:
        super().suits(problem, nfe)
        if not self.allows(2 * nfe, problem):
            raise UserError(
                f"would ask the denoiser of {problem.name} below its σ_min = {problem.sigma_min:g} in {2 * nfe} steps, "
                f"the fewest that a teacher of {nfe} takes"
            )

    def chain(self, problem: Problem, nfe: int) -> list[int]:
        """The steps of the students, decreasing to `nfe`."""
        steps = [nfe]
        while 2 * steps[0] < self.teacher and self.allows(4 * steps[0], problem):
            steps.insert(0, 2 * steps[0])
        return steps

    def stages(self, problem: Problem, nfe: int) -> list[Stage]:
        chain = self.chain(problem, nfe)
        schedule = f" on the schedule {self.schedule}" if self.schedule != "to-zero" else ""

        def stage(steps: int) -> Stage:
            grid = self.grid(2 * steps, problem).to(problem.device)
            what = f"progressive distillation from {2 * chain[0]} to {steps} steps{schedule}"
            return Stage(what, lambda teacher: self.loss(teacher, grid), steps)

        return [stage(steps) for steps in chain]

    def cost(self, problem: Problem, nfe: int) -> dict[str, Any]:
        chain = self.chain(problem, nfe)
        images = self.steps * self.batch * len(chain)
        return {"students": chain, "images": images, "teacher_evaluations": 2 * images}

    def sampling(self, problem: Problem, nfe: int) -> Callable[[Denoiser, ShardNoise], Tensor]:
        grid = self.grid(nfe, problem)

        def sample(denoiser: Denoiser, noise: ShardNoise) -> Tensor:
            held = prepared(denoiser, self.clamp, afs=False)
            x = problem.sigma_max * noise.initial()
            for sigma, sigma_next in pairwise(grid):
                x = ddim_step(held, x, sigma, sigma_next)
            return x

        return sample

    @staticmethod
    def loss(teacher: Denoiser, grid: Tensor) -> Halving:
        """Of a student that takes half the steps of `teacher` on `grid` [2·steps + 1]."""
        return Halving(teacher, torch.stack([grid[:-2:2], grid[1:-1:2], grid[2::2]], dim=1))
