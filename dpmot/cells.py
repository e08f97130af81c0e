"""A problem made ready for computing: centred, scaled to unit size, duplicates merged, cast to the operands' type.

The solver, the certificate and the maps all go through `Cells`, so that they see the same targets in the same rounding.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .assign import Assignment, assign
from .problem import Gaussian, SemiDiscreteProblem

STREAMS = {"start": 1, "burn-in": 2, "descent": 3, "certificate": 4}
PRECISIONS = {
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "tf32": torch.float32,  # float32 operands that the tensor cores round to 10 bits of mantissa
    "fp32": torch.float32,
    "fp64": torch.float64,
}
JITTER = 1e-9  # relative variance added before the Cholesky factor: below the rounding of the operands


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

    With d > n and a Gaussian source the targets are replaced by the rows of L, where LLᵀ is their Gram matrix: for
    x ~ N(0, I) the scores Zx then have the same law as Lw, w ~ N(0, I) in n dimensions (the QR reduction Zᵀ = QLᵀ,
    without the Q). A given x has the coordinates w = Qᵀx = L⁻¹Zx; `span` keeps Z for that.
    """

    problem: SemiDiscreteProblem
    targets: Tensor
    masses: Tensor
    unit: float  # scale·std
    std: float
    shift: Tensor  # m, [d]
    group: Tensor | None
    first: Tensor
    precision: str
    span: Tensor | None = None

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
        exact = problem.targets.to(device) - problem.target_mean.to(device)
        size = float(exact.norm(dim=1).mean())
        scale = 2.0 ** round(math.log2(size)) if size > 0 else 1.0
        targets = exact.div_(scale).to(PRECISIONS[precision])
        mean, std = problem.source_moments
        masses = problem.weights.to(device)
        group, first = _duplicates(targets)
        if group is not None:
            targets, exact = targets[first], exact[first]
            masses = torch.zeros(len(first), dtype=torch.float64, device=device).index_add_(0, group, masses)
        span = None
        if isinstance(problem.source, Gaussian) and problem.dim > len(first) > 1:
            span, targets = exact, _cholesky(exact).to(targets.dtype)
        return cls(problem, targets, masses, scale * std, std, mean.to(device), group, first, precision, span)

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
        """Raw source points [B, d] as operands: (x − m)/std, or its coordinates in the targets' span."""
        x = (x.to(self.device) - self.shift) / self.std
        if self.span is not None:
            factor = self.targets.to(self.span.dtype)
            x = torch.linalg.solve_triangular(factor, self.span @ x.to(self.span.dtype).T, upper=False).T
        return x.to(self.targets.dtype)

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """`count` fresh source samples as operands."""
        dtype = torch.promote_types(self.targets.dtype, torch.float32)
        if self.span is not None:
            like = {"generator": rng, "device": self.device, "dtype": dtype}
            return torch.randn(count, self.num, **like).to(self.targets.dtype)  # type: ignore[call-overload]
        return self.embed(self.problem.draw(count, rng, self.device, dtype))

    def assign(self, x: Tensor, heights: Tensor, *, values: bool = False) -> Assignment:
        """Cells of operands `x` for internal heights."""
        return assign(x, self.targets, heights, values=values, tf32=self.precision == "tf32")


def _cholesky(targets: Tensor) -> Tensor:
    """L with LLᵀ = the targets' Gram matrix, accumulated and factored in float64: [n, n]."""
    gram = torch.zeros(len(targets), len(targets), dtype=torch.float64, device=targets.device)
    for block in targets.split(8192, dim=1):
        block = block.double()
        gram.addmm_(block, block.T)
    gram.diagonal().add_(JITTER * gram.diagonal().mean())
    return torch.linalg.cholesky(gram)


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
