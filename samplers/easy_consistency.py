"""Easy consistency tuning: a denoiser becomes a consistency model as the two levels compared draw together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from samplers.base import Denoiser, Problem
from samplers.batches import Objective
from samplers.consistency_distillation import jump
from samplers.distillation import Distillation, Stage
from samplers.noise import Grid, ShardNoise, make_grid
from samplers.options import check_at_least, check_positive
from samplers.registry import register

SIGMA_DATA = 0.5
"""Standard deviation of images in [-1, 1], as of EDM."""
TINY = 1e-12
"""Square of a distance below which it has no slope."""
LOWEST = 1e-4
"""Stands for the level 0, which no network takes; what it gives there is not used."""


@dataclass(frozen=True)
class Tuning(Objective):
    """The values at t and at r < t of one example under the same noise are to be equal.

    No teacher is asked: (x_t − x_r)/(t − r) is an unbiased estimate of the flow's direction at x_t. The mapping is
    r = t (1 − n(t)/q^(stage + 1)) with n(t) = 1 + k sigmoid(−b t), not below 0 (section 3.2). At first r = 0 where t is
    small, which is to denoise; with every stage r comes nearer to t.

    Attributes:
        p_mean, p_std: log t ~ N(p_mean, p_std²).
        q, k, b: of the mapping.
        c: of the Huber distance √(‖·‖² + c²) − c.
        stage_images: images of a stage.
    """

    p_mean: float
    p_std: float
    q: float
    k: float
    b: float
    c: float
    stage_images: float

    def below(self, t: Tensor, seen: int) -> Tensor:
        """The level r that t is compared with after `seen` images."""
        stage = int(seen / self.stage_images)
        adjust = 1 + self.k * torch.sigmoid(-self.b * t)
        return t * (1 - adjust / self.q ** (stage + 1)).clamp(min=0)

    def draw(self, x0: Tensor, generator: torch.Generator, seen: int) -> tuple[Tensor, ...]:
        normal = torch.randn(len(x0), generator=generator, dtype=x0.dtype, device=x0.device)
        t = (self.p_mean + self.p_std * normal).exp().reshape(-1, *[1] * (x0.ndim - 1))
        r = self.below(t, seen)
        noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
        return x0 + t * noise, t, x0 + r * noise, r

    def errors(self, student: nn.Module, *drawn: Tensor) -> Tensor:
        x_t, t, x_r, r = drawn
        with torch.no_grad():  # the same seeds of dropout as for t
            target = torch.where(r > 0, student(x_r, r.flatten().clamp(min=LOWEST)), x_r)
        square = (student(x_t, t.flatten()) - target).flatten(1).square().sum(1)
        weight = (t.flatten() ** 2 + SIGMA_DATA**2) / (t.flatten() * SIGMA_DATA) ** 2
        return weight * ((square.clamp(min=TINY) + self.c**2).sqrt() - self.c)


@register("easy-consistency")
@dataclass(frozen=True)
class EasyConsistency(Distillation):
    """A consistency model f tuned from the denoiser's own weights (ECT), without a teacher.

    f is the denoiser: in the preconditioning of EDM D(x, σ) tends to x as σ goes to 0, and at r = 0 the target is the
    example itself. Samples are f at σ_max; with more evaluations noise is put back between. One student serves every
    budget.

    Attributes:
        halvings: stages of equally many images; with each the distance of the levels shrinks by q.
        q, k, b, c, p_mean, p_std: see `Tuning`.
        middle: the second level where there are two evaluations.
        grid: of the levels where there are more, from σ_max down.
    """

    title = "easy consistency tuning"
    summary = "a denoiser tuned to be a consistency model, without a teacher"
    paper = "Geng, Pokle, Luo, Lin, Kolter 2024, arXiv 2406.14548"
    preset = {"images": 25_600_000, "lr": 1e-4, "average": 0.9999, "dropout": 0.2}
    any_budget = True

    optimiser: Literal["adam", "radam"] = "radam"
    rate: Literal["falling", "constant"] = "constant"
    lr: float = 1e-4
    average: float = 0.99
    halvings: int = 8
    q: float = 2.0
    k: float = 8.0
    b: float = 1.0
    c: float = 0.0
    p_mean: float = -1.1
    p_std: float = 2.0
    middle: float = 0.821
    grid: Grid = "edm"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "halvings", "q")
        check_at_least(self, 0, "k", "c")
        check_positive(self, "b", "p_std", "middle")

    @property
    def objective(self) -> Tuning:
        """What the student is to make small."""
        return Tuning(self.p_mean, self.p_std, self.q, self.k, self.b, self.c, self.images / self.halvings)

    def stages(self, problem: Problem, nfe: int) -> list[Stage]:
        what = f"easy consistency, {self.objective}"
        return [Stage(what, lambda teacher: self.objective, nfe)]

    def cost(self, problem: Problem, nfe: int) -> dict[str, Any]:
        return {"images": self.steps * self.batch, "teacher_evaluations": 0}

    def sampling(self, problem: Problem, nfe: int) -> Callable[[Denoiser, ShardNoise], Tensor]:
        if nfe == 2:
            sigmas = torch.tensor([problem.sigma_max, self.middle], dtype=torch.float64)
        else:
            sigmas = make_grid(self.grid, nfe, problem.sigma_max, problem.sigma_min)[:-1]
        return lambda denoiser, noise: jump(denoiser, sigmas, 0.0, noise)
