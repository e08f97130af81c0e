r"""How far the posterior over a mixture's modes can spread: Λ(κ) = sup_x λ_max Cov_{r(x)}(m), κ = 1/v.

With r_k(x) ∝ w_k exp(−κ|x − m_k|²/2) and θ = κx, r_k ∝ w_k exp(−κ|m_k|²/2 + ⟨θ, m_k⟩): an exponential family in θ,
whose variance function is maximised. Upper bounds with a certificate, never a maximum that was merely found.
"""

import math
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
TOLERANCE = 1e-3  # the certified supremum exceeds the one found by this share at most
OCTAVE = 32  # nodes per doubling of κ


class Spread(Protocol):
    """An upper bound on Λ and on its integral."""

    def at(self, kappa: float) -> float:
        """Λ(κ)."""
        ...

    def integral(self, low: float, high: float) -> float:
        """∫_low^high Λ(κ) dκ."""
        ...


@dataclass(frozen=True)
class ConstantSpread:
    """Λ = R², whatever κ."""

    squared_radius: float

    def at(self, kappa: float) -> float:
        return self.squared_radius

    def integral(self, low: float, high: float) -> float:
        return self.squared_radius * (high - low)


@dataclass(frozen=True)
class LatticeSpread:
    """Λ of a product lattice with equal weights: the largest over its axes.

    On a product lattice r factorises, the covariance is diagonal, and Λ is the largest of the axes' own. On a line, Λ
    does
    not increase with κ: at the maximising θ the third central moment of the position Z vanishes, and there
    ∂_κ Var Z = −½ Cov((Z − μ)², Z²) = −½ Var((Z − μ)²) <= 0 (Danskin). So a sum of Λ at left ends bounds the integral.
    """

    axes: tuple[tuple[float, ...], ...]
    _nodes: dict[int, float] = field(default_factory=dict, repr=False, compare=False)

    def _node(self, index: int) -> float:
        """Λ at κ = 2^(index/OCTAVE)."""
        if index not in self._nodes:
            self._nodes[index] = max(largest_variance(axis, 2.0 ** (index / OCTAVE)) for axis in set(self.axes))
        return self._nodes[index]

    def at(self, kappa: float) -> float:
        return self._node(math.floor(OCTAVE * math.log2(kappa)))

    def integral(self, low: float, high: float) -> float:
        if high <= low:
            return 0.0
        first, last = math.floor(OCTAVE * math.log2(low)), math.floor(OCTAVE * math.log2(high))
        ends = [low, *(2.0 ** (index / OCTAVE) for index in range(first + 1, last + 1)), high]
        return sum(self._node(first + i) * (b - a) for i, (a, b) in enumerate(pairwise(ends)))


@cache
def lattice_spread(axes: tuple[tuple[float, ...], ...]) -> LatticeSpread:
    """The spread of a lattice, whose nodes are found once."""
    return LatticeSpread(axes)


def lattice_axes(means: Tensor, weights: Tensor) -> tuple[tuple[float, ...], ...] | None:
    """Coordinates along each axis where the means [C, d] are a full product lattice of equal weights, else None."""
    if float((weights - 1 / len(weights)).abs().max()) > 1e-12:
        return None
    rounded = means.double().round(decimals=9)
    axes = tuple(tuple(column.unique().tolist()) for column in rounded.T)
    full = math.prod(len(axis) for axis in axes) == len(means) == len(torch.unique(rounded, dim=0))
    return axes if full else None


def largest_variance(points: tuple[float, ...], kappa: float) -> float:
    """Certified upper bound, within `TOLERANCE`, on sup_θ Var Z for P(Z = t) ∝ exp(−κt²/2 + θt), t among `points`.

    Branch and bound: d(log Var)/dθ = E(Z − μ)³/Var is at most the width W of the points, so Var <= Var(c)·e^{Wδ}
    within δ of c. Beyond θ_max it is at most Σ_t P(t)/P(t_n)·(t_n − t)², which falls with θ; by the same on the other
    side.
    """
    t = np.asarray(points)
    if len(t) == 1:
        return 0.0
    width = float(t.max() - t.min())
    end = _last_tilt(t, kappa)
    low, high = -_last_tilt(-t[::-1], kappa), end
    half = (high - low) / 128
    centres = low + half * (2 * np.arange(64) + 1)
    best = 0.0
    while len(centres):
        found = _variance(t, kappa, centres)
        best = max(best, float(found.max()))
        open_ = centres[found * math.exp(width * half) > best * (1 + TOLERANCE)]
        half /= 2
        centres = np.concatenate([open_ - half, open_ + half])
    return best * (1 + TOLERANCE)


def _variance(t: Array, kappa: float, theta: NDArray[Any]) -> Array:
    logits = theta[:, None] * t - kappa * t**2 / 2
    r = np.exp(logits - logits.max(1, keepdims=True))
    r /= r.sum(1, keepdims=True)
    return (r * (t - (r @ t)[:, None]) ** 2).sum(1)


def _last_tilt(t: Array, kappa: float) -> float:
    """θ beyond which the variance stays below that at the middle of the last gap (t ascending)."""
    gap = t[-1] - t[:-1]
    middle = kappa * (t[-1] + t[-2]) / 2
    enough = float(_variance(t, kappa, np.array([middle]))[0])
    theta, step = middle, 1 / float(gap.min())
    while float((np.exp(-theta * gap - kappa * (t[:-1] ** 2 - t[-1] ** 2) / 2) * gap**2).sum()) > enough:
        theta += step
    return theta
