"""Maps from source samples to targets: hard (top-1), top-k extension, softmax.

All stream over blocks of samples and hold no scores beyond a block; the hard and the top-k map on a GPU hold none.
With `shard_targets` a map is a collective: every rank gives the same samples and gets the same points.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.distributed as dist
from torch import Tensor

from .problem import SemiDiscreteProblem, as_numbers, whole
from .scores.assign import in_blocks, soft_assign
from .scores.cells import Cells
from .scores.operands import row_keys
from .scores.ranks import memory_errors, summed

ROWS = 2**14  # samples mapped at once
NUMBERS = 2**28  # and numbers in them
SHARPEST = 1e30  # of internal scores, which are of order one, over the temperature
NO_ROOM = "no room for the mapped points and a block of samples beside the targets: map fewer at once"


@dataclass(frozen=True, eq=False)
class _Map:
    problem: SemiDiscreteProblem
    heights: Tensor
    device: torch.device | str | None = field(default=None, kw_only=True)
    precision: str = field(default="auto", kw_only=True)
    shard_targets: bool | str = field(default=False, kw_only=True)
    cells: Cells = field(init=False, repr=False)
    _inner: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        cells = Cells.of(self.problem, self.device, self.precision, self.shard_targets)
        object.__setattr__(self, "cells", cells)
        object.__setattr__(self, "_inner", cells.inner(self.heights).float())

    @property
    def rows(self) -> int:
        """Samples mapped at once."""
        return max(1, min(ROWS, NUMBERS // max(self.problem.dim, self.cells.dim)))

    @memory_errors(NO_ROOM)
    def __call__(self, z: Tensor) -> Tensor:
        """z [B, d] raw source samples -> points [B, d] of the targets' type, on the device of the work."""
        z = self._checked(z)
        out = torch.empty(z.shape, dtype=self.problem.targets.dtype, device=self.cells.device)
        return self._stream(z, self._map, out)

    @memory_errors(NO_ROOM)
    def assign(self, z: Tensor) -> Tensor:
        """Index of the cell of every raw source sample: z [B, d] -> [B] int64 (of equal targets, the first)."""
        z = self._checked(z)
        out = torch.empty(len(z), dtype=torch.int64, device=self.cells.device)
        return self.cells.first[self._stream(z, lambda x: self.cells.assign(x, self._inner).cell, out)]

    def _map(self, x: Tensor) -> Tensor:
        """Points of one block of operands."""
        raise NotImplementedError

    def _checked(self, z: Tensor) -> Tensor:
        z = as_numbers(z, "source samples")
        if z.ndim != 2 or z.shape[1] != self.problem.dim:
            raise ValueError(f"source samples must have the shape [B, {self.problem.dim}], got {list(z.shape)}")
        return z

    def _stream(self, z: Tensor, work: Callable[[Tensor], Tensor], out: Tensor) -> Tensor:
        """`work` on the operands of z, block by block into `out`. Blocks shrink where a GPU's memory runs out."""
        rows, done = self.rows, 0
        while done < len(z):
            try:
                out[done : done + rows] = work(self._operands(z[done : done + rows]))
                done += rows
            except torch.OutOfMemoryError:
                if rows == 1:
                    raise
                rows = max(1, min(rows, len(z)) // 4)
                torch.cuda.empty_cache()
        return out

    def _operands(self, block: Tensor) -> Tensor:
        x = self.cells.embed(block)
        # NaN would be sent to some cell or other. A sum shows it in one pass; only a sum can overflow by itself.
        if not bool(x.sum(dtype=torch.promote_types(x.dtype, torch.float32)).isfinite() or x.isfinite().all()):
            raise ValueError(f"source samples must be finite, and within the range of {self.cells.precision}")
        return x

    def _target(self, distinct: Tensor) -> Tensor:
        """Raw targets by number of distinct target, on the cells' device."""
        return self.problem.targets[self.cells.first[distinct].to(self.problem.targets.device)].to(self.cells.device)


@dataclass(frozen=True, eq=False)
class HardMap(_Map):
    """Brenier's map of the heights: T(z) = y_j on cell j, the gradient of u(z) = max_j ⟨z, y_j⟩ + h_j."""

    def _map(self, x: Tensor) -> Tensor:
        return self._target(self.cells.assign(x, self._inner).cell)


@dataclass(frozen=True, eq=False)
class TopKMap(_Map):
    """AE-OT's extension of the map between neighbouring cells (An et al., ICLR 2020; released as pyOMT).

    Of the k best cells of z, the best runner-up j whose facet of u meets that of z's own cell i at an angle below
    `angle` gives T(z) = (1 − w)·y_i + w·y_j; the angle (radians) is between the normals (y_i, −1) and (y_j, −1) of the
    raw targets. Where no runner-up qualifies T is the hard map. w is `weight` in [0, 1], or, by default, uniform on
    [0, 1) as in pyOMT's example on the plane, drawn from the bits of z, so that T stays a function of z alone.
    """

    k: int = 2
    angle: float = 0.7
    weight: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.k, "k", 1)
        if not self.angle >= 0:
            raise ValueError(f"angle must not be negative, got {self.angle}")
        if self.weight is not None and not 0 <= self.weight <= 1:
            raise ValueError(f"weight must lie in [0, 1], got {self.weight}")

    def _map(self, x: Tensor) -> Tensor:
        nearest, *others = self.cells.top(x, self._inner, self.k)[1].T
        chosen, partner = self._target(nearest), nearest
        for runner_up in reversed(others):  # the best that qualifies has the last word
            partner = torch.where(self._facet_angle(nearest, chosen, runner_up) <= self.angle, runner_up, partner)
        weight = self._drawn(x).to(chosen.dtype) if self.weight is None else chosen.new_tensor([self.weight])
        return torch.lerp(chosen, self._target(partner), weight[:, None])

    def _facet_angle(self, i: Tensor, target: Tensor, j: Tensor) -> Tensor:
        """Angle in radians between the normals (y_i, −1) and (y_j, −1), [B], of distinct targets i and j, given y_i."""
        product = torch.einsum("bd,bd->b", target, self._target(j)) + 1
        return (product / (self._normals[i] * self._normals[j]).sqrt()).clamp(-1, 1).acos()

    @cached_property
    def _normals(self) -> Tensor:
        """‖(y_j, −1)‖² of the distinct targets."""
        every = torch.arange(self.cells.num, device=self.cells.device)
        return torch.cat([self._target(some).square().sum(dim=1) + 1 for some in every.split(self.rows)])

    def _drawn(self, x: Tensor) -> Tensor:
        """Uniform on [0, 1), from the bits of the operands' leading coordinates."""
        return (row_keys(x[:, :64]) & (2**24 - 1)) / 2**24


@dataclass(frozen=True, eq=False)
class SoftmaxMap(_Map):
    """Smoothed map T_τ(z) = Σ_j softmax_j((⟨z, y_j⟩ + h_j)/τ)·y_j, the gradient of u_τ = τ·log Σ exp(·/τ).

    `temperature` τ is in the units of ⟨z, y⟩; 0 ≤ u_τ − u ≤ τ·log N, and T_τ tends to the hard map as τ → 0.
    Two matrix products: at most half the hard map's rate. The points are sums of targets in the operands' rounding.
    """

    temperature: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        if self.cells.unit / self.temperature > SHARPEST:
            raise ValueError(f"temperature {self.temperature} is too low for these targets: HardMap is its limit")

    def _map(self, x: Tensor) -> Tensor:
        (points,) = in_blocks(x, self.cells.num, lambda block: (self._mean(block),))
        return torch.add(self.problem.target_mean.to(x.device), points, alpha=self.cells.scale)

    def _mean(self, x: Tensor) -> Tensor:
        """Σ_j softmax_j·z_j for operands x, over this rank's targets and then over all."""
        sharpness = self.cells.unit / self.temperature
        weights, highest, total = soft_assign(x, self.cells.targets, self.cells.of_own(self._inner), sharpness)
        points = _product(weights, self._centred)
        if self.cells.sharded:
            own = highest.clone()
            dist.all_reduce(highest, dist.ReduceOp.MAX)
            scale = (own - highest).mul_(sharpness).exp_()
            total, points = summed(total * scale), summed(points * scale[:, None])
        return points / total[:, None]

    @cached_property
    def _centred(self) -> Tensor:
        """(y_j − ȳ)/scale of the distinct targets, as operands."""
        if not self.cells.reduced:
            return self.cells.targets
        mean = self.problem.target_mean.to(self.cells.device)
        raw = self._target(torch.arange(self.cells.num, device=self.cells.device))
        return ((raw - mean) / self.cells.scale).to(self.cells.targets.dtype)


def _product(weights: Tensor, targets: Tensor) -> Tensor:
    """weights [B, N] (at most 1) @ targets [N, d], in at least float32."""
    if weights.is_cuda and targets.dtype.itemsize == 2:
        return torch.mm(weights.to(targets.dtype), targets, out_dtype=torch.float32)
    dtype = torch.promote_types(weights.dtype, torch.float32)
    return weights.to(dtype) @ targets.to(dtype)
