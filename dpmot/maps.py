"""Maps from source samples to targets: hard (top-1), top-k extension, softmax."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .assign import BLOCK_SCORES
from .cells import Cells, row_keys
from .problem import SemiDiscreteProblem


@dataclass(frozen=True, eq=False)
class _Map:
    problem: SemiDiscreteProblem
    heights: Tensor
    device: torch.device | str | None = field(default=None, kw_only=True)
    precision: str = field(default="auto", kw_only=True)
    cells: Cells = field(init=False, repr=False)
    _inner: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        cells = Cells.of(self.problem, self.device, self.precision)
        object.__setattr__(self, "cells", cells)
        object.__setattr__(self, "_inner", cells.inner(self.heights).float())

    def assign(self, z: Tensor) -> Tensor:
        """Index of the cell of every raw source sample: z [B, d] -> [B] int64 (of equal targets, the first)."""
        return self.cells.first[self.cells.assign(self._points(z), self._inner).cell]

    def _blocks(self, z: Tensor) -> Iterator[Tensor]:
        """Operands of z in blocks whose scores fit in memory."""
        rows = max(1, BLOCK_SCORES.get(self.cells.device.type, 2**24) // self.cells.num)
        return (self._points(block) for block in z.split(rows))

    def _points(self, z: Tensor) -> Tensor:
        if z.ndim != 2 or z.shape[1] != self.problem.dim:
            raise ValueError(f"source samples must have the shape [B, {self.problem.dim}], got {list(z.shape)}")
        return self.cells.embed(z)

    def _target(self, distinct: Tensor) -> Tensor:
        """Raw targets by number of distinct target, on the cells' device."""
        return self.problem.targets[self.cells.first[distinct].to(self.problem.targets.device)].to(self.cells.device)


@dataclass(frozen=True, eq=False)
class HardMap(_Map):
    """Brenier's map of the heights: T(z) = y_j on cell j, the gradient of u(z) = max_j ⟨z, y_j⟩ + h_j."""

    def __call__(self, z: Tensor) -> Tensor:
        """z [B, d] raw source samples -> targets [B, d]."""
        return self._target(self.cells.assign(self._points(z), self._inner).cell)


@dataclass(frozen=True, eq=False)
class TopKMap(_Map):
    """AE-OT's extension of the map between neighbouring cells (An et al., ICLR 2020; released as pyOMT).

    Of the k best cells of z, the best runner-up j whose facet of u meets that of z's own cell i at an angle below
    `angle` gives T(z) = (1 − w)·y_i + w·y_j; the angle (radians) is between the normals (y_i, −1) and (y_j, −1) of the
    raw targets. Where no runner-up qualifies T is the hard map. w is `weight` in [0, 1], or, by default, uniform on
    [0, 1) as in pyOMT, drawn from the bits of z, so that T stays a function of z alone.
    """

    k: int = 2
    angle: float = 0.7
    weight: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1:
            raise ValueError(f"k must be at least 1, got {self.k}")
        if self.weight is not None and not 0 <= self.weight <= 1:
            raise ValueError(f"weight must lie in [0, 1], got {self.weight}")

    def __call__(self, z: Tensor) -> Tensor:
        """z [B, d] raw source samples -> points [B, d] on segments between targets."""
        return torch.cat([self._map(x) for x in self._blocks(z)])

    def _map(self, x: Tensor) -> Tensor:
        scores = x.float() @ self.cells.targets.float().T + self._inner
        best = scores.topk(min(self.k, self.cells.num), dim=1).indices
        chosen = self._target(best[:, 0])
        partner = chosen.clone()
        free = torch.ones(len(x), dtype=torch.bool, device=x.device)
        for column in best[:, 1:].T:
            candidate = self._target(column)
            take = free & (_facet_angle(chosen, candidate) <= self.angle)
            partner[take] = candidate[take]
            free &= ~take
        weight = (row_keys(x) & (2**24 - 1)).to(chosen.dtype) / 2**24 if self.weight is None else self.weight
        return torch.lerp(chosen, partner, weight[:, None] if isinstance(weight, Tensor) else weight)


@dataclass(frozen=True, eq=False)
class SoftmaxMap(_Map):
    """Smoothed map T_τ(z) = Σ_j softmax_j((⟨z, y_j⟩ + h_j)/τ)·y_j, the gradient of u_τ = τ·log Σ exp(·/τ).

    `temperature` τ is in the units of ⟨z, y⟩; 0 ≤ u_τ − u ≤ τ·log N, and T_τ tends to the hard map as τ → 0.
    """

    temperature: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")

    def __call__(self, z: Tensor) -> Tensor:
        """z [B, d] raw source samples -> points [B, d] in the targets' convex hull."""
        targets = self._target(torch.arange(self.cells.num, device=self.cells.device))
        sharpness = self.cells.unit / self.temperature
        operands = self.cells.targets.float().T
        return torch.cat(
            [
                torch.softmax((x.float() @ operands + self._inner) * sharpness, dim=1).to(targets.dtype) @ targets
                for x in self._blocks(z)
            ]
        )


def _facet_angle(a: Tensor, b: Tensor) -> Tensor:
    """Angle in radians between the normals (a, −1) and (b, −1) of the rows of a and b."""
    cosine = ((a * b).sum(dim=1) + 1) / ((a.square().sum(dim=1) + 1) * (b.square().sum(dim=1) + 1)).sqrt()
    return cosine.clamp(-1, 1).acos()
