"""Equal modes on the plane, where everything can be drawn."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from benchmark.problems.gaussian_mixture import GaussianMixture
from benchmark.problems.registry import register
from samplers.errors import UserError
from samplers.options import added, check_at_least, check_choices, check_positive


@register
@dataclass(frozen=True)
class Mixture2D(GaussianMixture):
    """Equal modes on the plane, on a square grid or on a ring.

    Attributes:
        layout: `grid` (modes is a square number) or `ring`.
        modes: how many; 25 on the grid and 8 on the ring are the usual ones.
        spacing: distance between neighbours on the grid; radius of the ring is `modes · spacing / 2π`.
        width: standard deviation of a mode.
        draw: see `Problem`.
    """

    name: ClassVar[str] = "mixture2d"
    summary: ClassVar[str] = "modes on the plane (25 on a grid or 8 on a ring), exact denoiser"
    metrics: ClassVar[tuple[str, ...]] = ("w2", "sliced_w2", "modes", "mode_mixture", "novelty")

    layout: Literal["grid", "ring"] = "grid"
    modes: int = 25
    spacing: float = 0.5
    width: float = 0.05
    draw: int = added(0)

    def __post_init__(self) -> None:
        check_positive(self, "modes", "spacing", "width")
        check_at_least(self, 0, "draw")
        check_choices(self)
        if self.layout == "grid" and math.isqrt(self.modes) ** 2 != self.modes:
            raise UserError(f"a grid needs a square number of modes, got {self.modes}")

    @cached_property
    def means(self) -> Tensor:
        if self.layout == "ring":
            angle = 2 * math.pi / self.modes * torch.arange(self.modes, dtype=torch.float64)
            return self.modes * self.spacing / (2 * math.pi) * torch.stack([angle.cos(), angle.sin()], 1)
        side = math.isqrt(self.modes)
        axis = self.spacing * (torch.arange(side, dtype=torch.float64) - (side - 1) / 2)
        return torch.cartesian_prod(axis, axis)

    @cached_property
    def mode_weights(self) -> Tensor:
        return torch.full((self.modes,), 1 / self.modes, dtype=torch.float64)
