"""Knowledge distillation: the student goes in one step from the noise to where the whole trajectory ends."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from samplers.base import Denoiser, Problem
from samplers.batches import Objective
from samplers.distillation import Distillation, Stage
from samplers.errors import UserError
from samplers.noise import ShardNoise
from samplers.options import check_at_least
from samplers.pairs import Pairs, make_pairs
from samplers.registry import register


@dataclass(frozen=True)
class Regression(Objective):
    """The student's one step from the noise is to be the end of the teacher's run (eq. 11).

    Attributes:
        sigma_max: the level of the noise.
        distance: `l2`, as in the paper, or `l1`, as in the authors' code for CIFAR-10.
    """

    sigma_max: float
    distance: str

    def draw(self, x0: Tensor, generator: torch.Generator, seen: int) -> tuple[Tensor, ...]:
        """x0 [B, 2, ...] are pairs: noise, and where the teacher takes it."""
        return x0[:, 0], x0[:, 1]

    def errors(self, student: nn.Module, *drawn: Tensor) -> Tensor:
        noise, end = drawn
        sigma = torch.full((len(noise),), self.sigma_max, dtype=noise.dtype, device=noise.device)
        missed = student(self.sigma_max * noise, sigma) - end
        return missed.abs() if self.distance == "l1" else missed.square()


@register("knowledge-distillation")
@dataclass(frozen=True)
class KnowledgeDistillation(Distillation):
    """A student that learns by regression what a deterministic sampler makes of each noise, in one evaluation.

    Pairs of noise and sample are made once, and the student sees them again and again. Among the authors' settings, the
    teacher's 100 steps are spaced by the default grid here, quadratically in time there.

    Attributes:
        pairs: how many.
        teacher: the solver that makes them, any registered one.
        teacher_nfe: its evaluations for each.
        distance: `l2` or `l1`.
    """

    title = "knowledge distillation"
    summary = "a student that regresses on pairs of noise and sample, in one step"
    paper = "Luhman, Luhman 2021, arXiv 2101.02388"
    preset = {
        "pairs": 1_024_000,
        "teacher": "ddim",
        "teacher_nfe": 100,
        "distance": "l1",
        "images": 25_600_000,
        "batch": 512,
        "lr": 2e-4,
        "rate": "constant",
        "warmup": 2_560_000,
        "average": 0.995,
    }
    betas = (0.9, 0.98)

    pairs: int = 10_000
    teacher: str = "heun"
    teacher_nfe: int = 35
    distance: Literal["l2", "l1"] = "l2"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "pairs", "teacher_nfe")
        if self.mirror:
            raise UserError("mirror does not suit pairs: the teacher need not take mirrored noise to a mirrored image")

    def check(self, nfe: int) -> None:
        if nfe != 1:
            raise UserError(f"takes a single evaluation, got {nfe}")

    def make_pairs(self, problem: Problem) -> Pairs:
        """The pairs to learn from, made or remembered."""
        return make_pairs(problem, self.teacher, self.teacher_nfe, self.pairs, self.student_seed)

    def examples(self, problem: Problem) -> Tensor:
        pairs = self.make_pairs(problem)
        return torch.stack([pairs.noise, pairs.ends], dim=1)

    def stages(self, problem: Problem, nfe: int) -> list[Stage]:
        what = f"knowledge distillation of {self.pairs} pairs of {self.teacher} at {self.teacher_nfe}, {self.distance}"
        return [Stage(what, lambda teacher: Regression(problem.sigma_max, self.distance), nfe)]

    def preparation(self, problem: Problem) -> float:
        return self.make_pairs(problem).seconds

    def cost(self, problem: Problem, nfe: int) -> dict[str, Any]:
        evaluations = self.pairs * self.teacher_nfe
        return {"images": self.steps * self.batch, "pairs": self.pairs, "teacher_evaluations": evaluations}

    def sampling(self, problem: Problem, nfe: int) -> Callable[[Denoiser, ShardNoise], Tensor]:
        sigma_max = problem.sigma_max
        return lambda denoiser, noise: denoiser(sigma_max * noise.initial(), torch.tensor(sigma_max))
