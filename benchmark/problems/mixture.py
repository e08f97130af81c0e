"""A Gaussian mixture in any dimension."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor

from benchmark.problems.gaussian_mixture import GaussianMixture
from benchmark.problems.registry import register
from samplers.noise import stream
from samplers.options import added, check_at_least, check_choices, check_positive


@register
@dataclass(frozen=True)
class Mixture(GaussianMixture):
    """A mixture in any dimension, its centres drawn once from N(0, spread² I).

    Attributes:
        dim: dimension of the space.
        modes: number of modes.
        spread: standard deviation of a coordinate of the centres.
        width: standard deviation of a mode.
        weights: `equal`, or `linear`: w_k proportional to k = 1, ..., modes.
        draw_seed: seed of the centres.
        draw: see `Problem`.
    """

    name: ClassVar[str] = "mixture"
    summary: ClassVar[str] = "modes at random centres in any dimension, exact denoiser"
    metrics: ClassVar[tuple[str, ...]] = ("w2", "sliced_w2", "modes", "mode_mixture", "novelty")

    dim: int = 16
    modes: int = 10
    spread: float = 0.5
    width: float = 0.1
    weights: Literal["equal", "linear"] = "equal"
    draw_seed: int = 0
    draw: int = added(0)

    def __post_init__(self) -> None:
        check_positive(self, "dim", "modes", "spread", "width")
        check_at_least(self, 0, "draw")
        check_choices(self)

    @cached_property
    def means(self) -> Tensor:
        generator = stream("mixture", "centres", self.draw_seed)
        return self.spread * torch.randn(self.modes, self.dim, dtype=torch.float64, generator=generator)

    @cached_property
    def mode_weights(self) -> Tensor:
        weights = torch.ones(self.modes) if self.weights == "equal" else torch.arange(1.0, self.modes + 1)
        return weights.double() / weights.sum()
