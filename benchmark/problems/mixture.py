"""Gaussian mixtures: everything about them is known in closed form."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from benchmark.problems.base import Problem, Split
from samplers.errors import OptionError
from samplers.noise import stream

BLOCK = 1000  # examples are drawn so many at a time, so that asking for more only adds to them


class GaussianMixture(Problem):
    """Isotropic mixture Σ_k w_k N(m_k, width² I) with its exact denoiser, sampling and posterior over modes.

    A subclass gives `means` [K, d], `mode_weights` [K] and the option `width`.
    """

    dtype = torch.float64
    shard = 500
    width: float

    @property
    def means(self) -> Tensor:
        """Centres of the modes, float64 [K, d]."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.means.shape[1],)

    def _log_joint(self, x: Tensor, variance: Tensor | float) -> Tensor:
        """log w_k − ‖x − m_k‖²/2v up to a constant in k: [B, K]."""
        square = torch.cdist(x, self.means.to(x), compute_mode="donot_use_mm_for_euclid_dist").square()
        return self.mode_weights.to(x).log() - square / (2 * variance)

    def denoiser(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The exact E[x0 | x]: the mean over modes k of m_k + width²/(width² + σ²) (x − m_k), by their posterior."""
        variance = self.width**2 + torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, 1) ** 2
        centre = self._log_joint(x, variance).softmax(1) @ self.means.to(x)
        return centre + self.width**2 / variance * (x - centre)

    def posterior(self, x: Tensor) -> Tensor:
        return self._log_joint(x, self.width**2).softmax(1)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Exact independent samples, float64 [count, d]."""
        mode = torch.multinomial(self.mode_weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.shape[0], dtype=torch.float64, generator=generator)
        return self.means[mode] + self.width * noise

    def examples(self, split: Split, count: int) -> Tensor:
        blocks = [self.draw(BLOCK, stream("mixture", split, block)) for block in range(-(-count // BLOCK))]
        return torch.cat(blocks)[:count].to(self.device)


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise OptionError(f"{name} must be positive, got {value:g}")


@dataclass(frozen=True)
class Mixture2D(GaussianMixture):
    """Equal modes on the plane, on a square grid or on a ring.

    Attributes:
        layout: `grid` (modes is a square number) or `ring`.
        modes: how many; 25 on the grid and 8 on the ring are the usual ones.
        spacing: distance between neighbours on the grid; radius of the ring is `modes · spacing / 2π`.
        width: standard deviation of a mode.
    """

    name: ClassVar[str] = "mixture2d"
    summary: ClassVar[str] = "modes on the plane (25 on a grid or 8 on a ring), exact denoiser"
    metrics: ClassVar[tuple[str, ...]] = ("w2", "sliced_w2", "modes", "mode_mixture", "novelty")

    layout: str = "grid"
    modes: int = 25
    spacing: float = 0.5
    width: float = 0.05

    def __post_init__(self) -> None:
        _positive(modes=self.modes, spacing=self.spacing, width=self.width)
        if self.layout not in ("grid", "ring"):
            raise OptionError(f"unknown layout '{self.layout}': choose grid or ring")
        if self.layout == "grid" and math.isqrt(self.modes) ** 2 != self.modes:
            raise OptionError(f"a grid needs a square number of modes, got {self.modes}")

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
    """

    name: ClassVar[str] = "mixture"
    summary: ClassVar[str] = "modes at random centres in any dimension, exact denoiser"
    metrics: ClassVar[tuple[str, ...]] = ("w2", "sliced_w2", "modes", "mode_mixture", "novelty")

    dim: int = 16
    modes: int = 10
    spread: float = 0.5
    width: float = 0.1
    weights: str = "equal"
    draw_seed: int = 0

    def __post_init__(self) -> None:
        _positive(dim=self.dim, modes=self.modes, spread=self.spread, width=self.width)
        if self.weights not in ("equal", "linear"):
            raise OptionError(f"unknown weights '{self.weights}': choose equal or linear")

    @cached_property
    def means(self) -> Tensor:
        generator = stream("mixture", "centres", self.draw_seed)
        return self.spread * torch.randn(self.modes, self.dim, dtype=torch.float64, generator=generator)

    @cached_property
    def mode_weights(self) -> Tensor:
        weights = torch.ones(self.modes) if self.weights == "equal" else torch.arange(1.0, self.modes + 1)
        return weights.double() / weights.sum()
