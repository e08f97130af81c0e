"""A problem made ready for computing: centred, scaled to unit size, duplicates merged, cast to the operands' type.

The solver, the certificate and the maps all go through `Cells`, so that they see the same targets in the same rounding.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .assign import Assignment, assign
from .problem import SemiDiscreteProblem

STREAMS = {"start": 1, "burn-in": 2, "descent": 3, "certificate": 4}
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp64": torch.float64}


def generator(device: torch.device, *key: int) -> torch.Generator:
    """Random generator of its own for each key (seed, stream, block ...): draws depend on the key alone."""
    state = 0x9E3779B97F4A7C15
    for part in key:  # SplitMix64: nearby keys give unrelated seeds
        state = (state + (part % 2**64) * 0xD1B54A32D192ED03 + 0x9E3779B97F4A7C15) % 2**64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
        state ^= state >> 31
    return torch.Generator(device).manual_seed(state % 2**63)


@dataclass(frozen=True, eq=False)
class Cells:
    """Distinct targets z_j = (y_j − ȳ)/scale, [n, d], and what leads back to the user's N targets.

    scale: power of two near the mean ‖y − ȳ‖, times the source's standard deviation: internal heights are h/(scale·std)
        and internal scores ⟨(x − m)/std, z_j⟩ + h_j are of order one whatever the units.
    group: [N], the distinct target of each target, or None when all differ. masses: [n] float64.
    first: [n], the lowest index of each group.
    """

    problem: SemiDiscreteProblem
    targets: Tensor
    masses: Tensor
    unit: float  # scale·std
    std: float
    shift: Tensor  # m, [d]
    group: Tensor | None
    first: Tensor

    @classmethod
    def of(
        cls, problem: SemiDiscreteProblem, device: torch.device | str | None = None, precision: str = "auto"
    ) -> "Cells":
        """precision: of the operands, fp32, fp16, bf16 or fp64; auto is fp16 on a GPU, else fp32."""
        device = torch.device(device) if device is not None else problem.targets.device
        if precision == "auto":
            precision = "fp16" if device.type == "cuda" else "fp32"
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be auto, {', '.join(PRECISIONS)}; got {precision!r}")
        centred = problem.targets - problem.target_mean
        size = float(centred.norm(dim=1).mean())
        scale = 2.0 ** round(math.log2(size)) if size > 0 else 1.0
        targets = (centred / scale).to(device=device, dtype=PRECISIONS[precision])
        mean, std = problem.source_moments
        masses = problem.weights.to(device)
        group, first = _duplicates(targets)
        if group is not None:
            targets = targets[first].contiguous()
            masses = torch.zeros(len(first), dtype=torch.float64, device=device).index_add_(0, group, masses)
        return cls(problem, targets, masses, scale * std, std, mean.to(device), group, first)

    @property
    def device(self) -> torch.device:
        return self.targets.device

    @property
    def num(self) -> int:
        """Number of distinct targets."""
        return self.targets.shape[0]

    def inner(self, heights: Tensor) -> Tensor:
        """The user's heights [N] in internal units, one per distinct target [n] float64."""
        if heights.shape != (self.problem.num_targets,):
            raise ValueError(f"heights must have the shape [{self.problem.num_targets}], got {list(heights.shape)}")
        if not bool(heights.isfinite().all()):
            raise ValueError("heights must be finite: found NaN or infinity")
        heights = heights.to(self.device, torch.float64) / self.unit
        if self.group is not None:  # of several heights at one point only the highest ever wins
            heights = torch.full_like(self.masses, -torch.inf).scatter_reduce_(0, self.group, heights, "amax")
        return heights

    def outer(self, heights: Tensor) -> Tensor:
        """Internal heights [n] as the user's [N] float32, shifted so that their mass-weighted mean is zero."""
        heights = (heights - (heights * self.masses).sum()) * self.unit
        return (heights if self.group is None else heights[self.group]).float()

    def embed(self, x: Tensor) -> Tensor:
        """Raw source points [B, d] as operands: (x − m)/std in the targets' type."""
        return ((x.to(self.device) - self.shift) / self.std).to(self.targets.dtype)

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """`count` fresh source samples as operands."""
        dtype = torch.promote_types(self.targets.dtype, torch.float32)
        return self.embed(self.problem.draw(count, rng, self.device, dtype))

    def assign(self, x: Tensor, heights: Tensor, *, values: bool = False) -> Assignment:
        """Cells of operands `x` for internal heights."""
        return assign(x, self.targets, heights, values=values)


def row_keys(x: Tensor) -> Tensor:
    """A 64-bit hash of every row, [B] int64: equal for equal rows, whatever the batch or the order of summation."""
    rng = torch.Generator().manual_seed(1)
    salt = (torch.randint(-(2**62), 2**62, x.shape[1:], generator=rng) * 2 + 1).to(x.device)
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]
    rows = max(1, 2**24 // x.shape[1])
    return torch.cat([((part + 0.0).view(bits).long() * salt).sum(dim=1) for part in x.split(rows)])  # −0 + 0 = 0


def _duplicates(targets: Tensor) -> tuple[Tensor | None, Tensor]:
    """Groups of equal rows: (group of each row or None when all differ, lowest row of each group)."""
    everything = torch.arange(len(targets), device=targets.device)
    distinct, group = row_keys(targets).unique(return_inverse=True)
    if len(distinct) == len(targets):
        return None, everything
    first = torch.full_like(distinct, len(targets)).scatter_reduce_(0, group, everything, "amin")
    order = first.argsort()  # distinct targets in the order of their first appearance
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return rank[group], first[order]
