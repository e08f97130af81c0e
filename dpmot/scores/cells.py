"""A problem made ready for computing: centred, scaled to unit size, duplicates merged, cast to the operands' type.

The solver, the certificate and the maps all go through `Cells`, so that they see the same targets in the same rounding.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..problem import Gaussian, SemiDiscreteProblem, as_numbers
from .assign import Assignment, assign, top
from .operands import columns, coordinates, duplicates, finite, gram_factor, narrow_span, raw_rows, rounded, row_keys
from .ranks import gathered, memory_errors, share, stacked, summed, to_shard, usable

STREAMS = {"start": 1, "burn-in": 2, "descent": 3, "certificate": 4, "facets": 5}
PRECISIONS = {
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "tf32": torch.float32,  # float32 operands that the tensor cores round to 10 bits of mantissa
    "fp32": torch.float32,
    "fp64": torch.float64,
}
WIDER = {"fp16": "fp32", "bf16": "fp32", "tf32": "fp32", "fp32": "fp64"}
LARGEST = 1e36  # norm of a target times the source's deviation: heights are float32


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
    """Distinct targets z_j = (y_j − ȳ)/scale, and what leads back to the user's N targets.

    targets: [n, d] operands; where targets are sharded, this rank's rows of them alone, those of `own`.
    scale: power of two near the mean ‖y − ȳ‖. With the source's standard deviation std, internal heights are
        h/(scale·std) and internal scores ⟨(x − m)/std, z_j⟩ + h_j: of order one whatever the units.
    group: [N], the distinct target of each target, or None when all differ. masses: [n] float64.
    first: [n], the lowest index of each group. keys: [N] int64, hashes of the raw targets.

    Where the targets span few of the d dimensions (`span` [r, d], an orthonormal basis, r ≤ 64), their coordinates in
    that span take their place: source samples are projected to it, or drawn there if the source is Gaussian.

    Else, with d > n and a Gaussian source, the targets are replaced by the rows of L, where LLᵀ is their Gram matrix:
    for x ~ N(0, I) the scores Zx then have the same law as Lw, w ~ N(0, I) in n dimensions (the QR reduction Zᵀ = QLᵀ,
    without the Q). A given x has the coordinates w = Qᵀx; `basis` is Qᵀ, made when first asked for. Targets that
    are to be sharded are not reduced, whether or not there are ranks to share them: the samples are the same then.
    """

    problem: SemiDiscreteProblem
    targets: Tensor
    own: range
    masses: Tensor
    scale: float
    std: float
    shift: Tensor  # m, [d]
    group: Tensor | None
    first: Tensor
    keys: Tensor
    precision: str
    reduced: bool = False
    sharded: bool = False
    span: Tensor | None = None

    @classmethod
    def of(
        cls,
        problem: SemiDiscreteProblem,
        device: torch.device | str | None = None,
        precision: str = "auto",
        shard_targets: bool | str = False,
    ) -> "Cells":
        """precision: of the operands, fp32, tf32, fp16, bf16 or fp64; auto is fp16 on a GPU, else fp32, and wider where
            that would round distinct targets to one. ValueError where a precision that was asked for does so.

        shard_targets: keep on each rank of the process group only its share of the rows; "auto": if all don't fit.
        """
        if not isinstance(problem, SemiDiscreteProblem):
            raise ValueError(f"problem must be a SemiDiscreteProblem, got {type(problem).__name__}")
        device = usable(device) if device is not None else problem.targets.device
        auto = precision == "auto"
        if auto:
            precision = "fp16" if device.type == "cuda" else "fp32"
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be auto, {', '.join(PRECISIONS)}; got {precision!r}")
        with memory_errors("the targets do not fit: use more GPUs with shard_targets=True, or fp16"):
            while True:
                cells = cls._prepared(problem, device, precision, shard_targets)
                merged = cells.num - len(cells._rounded_keys().unique())
                if not merged:
                    return cells
                wider = WIDER.get(precision)
                if not (auto and wider):
                    advice = f"give precision={wider!r}" if wider else "merge them, or move them apart"
                    raise ValueError(f"{precision} rounds {merged} of {cells.num} distinct targets to others: {advice}")
                precision = wider

    @classmethod
    def _prepared(
        cls, problem: SemiDiscreteProblem, device: torch.device, precision: str, shard_targets: bool | str
    ) -> "Cells":
        n, dtype = problem.num_targets, PRECISIONS[precision]
        sharded = to_shard(problem.targets.shape, device, dtype, shard_targets)
        own = share(n) if sharded else range(n)
        center = problem.target_mean.to(device)
        # In float64, so that the squares of no finite target overflow. Raw rows are hashed: rounded ones may be equal.
        found = [((block - center).double().norm(dim=1), row_keys(block)) for block in raw_rows(problem, own, device)]
        norms, keys = (torch.cat(parts) for parts in zip(*found, strict=True))
        norms, keys = (gathered(norms, n), gathered(keys, n)) if sharded else (norms, keys)
        mean, std = problem.source_moments
        if float(norms.max()) * std > LARGEST:
            raise ValueError("the targets' range is too wide for heights in float32: rescale targets or source")
        size = float(norms.mean())
        scale = 2.0 ** round(math.log2(size)) if size > 0 else 1.0
        group, first = duplicates(keys)
        masses = problem.weights.to(device)
        if group is not None:
            sharded = sharded and to_shard([len(first)], device, dtype, True)  # or some rank would have none
            own = share(len(first)) if sharded else range(len(first))
            masses = torch.zeros(len(first), dtype=torch.float64, device=device).index_add_(0, group, masses)
            masses /= masses.sum()  # rounding may have brought the only one above 1
        shift = mean.to(device)
        reducible = shard_targets is not True and not sharded and len(first) > 1
        span = narrow_span(problem, first, device) if reducible and len(first) > 2 else None
        if span is not None:
            targets = coordinates(problem, first, span, scale, dtype)
            if len(row_keys(targets).unique()) == len(first):
                return cls(
                    problem, targets, own, masses, scale, std, shift, group, first, keys, precision, True, span=span
                )
        reduced = reducible and isinstance(problem.source, Gaussian) and problem.dim > len(first)
        if reduced:
            targets = finite(gram_factor(problem, first, scale, device).to(dtype))
        else:
            rows = own if group is None else first[own.start : own.stop]
            targets = rounded(problem, rows, scale, device, dtype)
        return cls(problem, targets, own, masses, scale, std, shift, group, first, keys, precision, reduced, sharded)

    def _rounded_keys(self) -> Tensor:
        """Hashes of the operands as they are multiplied, [n]."""
        if self.precision != "tf32":
            return self.gathered(row_keys(self.targets))
        bits = (block.view(torch.int32) & -(2**13) for block in self.targets.split(8192))
        return self.gathered(torch.cat([row_keys(block.view(torch.float32)) for block in bits]))

    @property
    def device(self) -> torch.device:
        return self.targets.device

    @property
    def num(self) -> int:
        """Number of distinct targets."""
        return len(self.masses)

    @property
    def dim(self) -> int:
        """Inner dimension of the scores."""
        return self.targets.shape[1]

    @property
    def intrinsic(self) -> int:
        """Dimension of the targets' span where it is known to be narrow, else d."""
        return self.problem.dim if self.span is None else self.dim

    @property
    def unit(self) -> float:
        """One internal height in the user's units."""
        return self.scale * self.std

    @cached_property
    def _standard(self) -> bool:
        """Whether source samples have mean 0 and deviation 1 as they come."""
        return self.std == 1 and not bool(self.shift.any())

    @cached_property
    def norms(self) -> Tensor:
        """‖z_j‖ of the operands, [n] float64."""
        return self.gathered(torch.cat([block.double().norm(dim=1) for block in self.targets.split(8192)]))

    @cached_property
    def basis(self) -> Tensor:
        """Qᵀ, `span` or L⁻¹Z [n, d], in at least float32: takes points to the coordinates of the reduced targets."""
        dtype = torch.promote_types(self.targets.dtype, torch.float32)
        if self.span is not None:
            return self.span.to(dtype)
        with memory_errors("no room for the basis of the targets' span, [N, d]"):
            factor = gram_factor(self.problem, self.first, self.scale, self.device)
            out, done = torch.empty(self.num, self.problem.dim, dtype=dtype, device=self.device), 0
            for z in columns(self.problem, self.first, self.scale, self.device):
                part = out[:, done : done + z.shape[1]]
                done += part.copy_(torch.linalg.solve_triangular(factor, z, upper=False)).shape[1]
        return out

    def inner(self, heights: Tensor) -> Tensor:
        """The user's heights [N] in internal units and of mean zero, one per distinct target [n] float64."""
        heights = as_numbers(heights, "heights")
        if heights.shape != (self.problem.num_targets,):
            raise ValueError(f"heights must have the shape [{self.problem.num_targets}], got {list(heights.shape)}")
        if not bool(heights.isfinite().all()):
            raise ValueError("heights must be finite: found NaN or infinity")
        heights = heights.to(self.device, torch.float64) / self.unit
        if self.group is not None:  # of several heights at one point only the highest ever wins
            heights = torch.full_like(self.masses, -torch.inf).scatter_reduce_(0, self.group, heights, "amax")
        heights = heights - heights.mean()  # or a large constant would cost digits in float32
        if float(heights.abs().max()) > LARGEST:
            raise ValueError("the heights' range is too wide for float32")
        return heights

    def outer(self, heights: Tensor) -> Tensor:
        """Internal heights [n] as the user's [N] float32, shifted so that their mass-weighted mean is zero."""
        heights = (heights - (heights * self.masses).sum()) * self.unit
        return (heights if self.group is None else heights[self.group]).float()

    def embed(self, x: Tensor) -> Tensor:
        """Raw source points [B, d] as operands: (x − m)/std, or its coordinates in the targets' span."""
        x = x.to(self.device)
        if not self._standard:
            x = (x - self.shift) / self.std
        if self.reduced:
            x = x.to(self.basis.dtype) @ self.basis.T
        return x.to(self.targets.dtype)

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """`count` fresh source samples as operands."""
        dtype = torch.promote_types(self.targets.dtype, torch.float32)
        if self.reduced and isinstance(self.problem.source, Gaussian):
            like = {"generator": rng, "device": self.device, "dtype": dtype}
            return torch.randn(count, self.dim, **like).to(self.targets.dtype)  # type: ignore[call-overload]
        return self.embed(self.problem.draw(count, rng, self.device, dtype))

    def assign(
        self,
        x: Tensor,
        heights: Tensor,
        *,
        values: bool = False,
        rough: bool = False,
        targets: Tensor | None = None,
    ) -> Assignment:
        """Cell of operands `x` for internal heights; `targets` [n, ·] in the place of these, with x to match.

        Over sharded targets a collective: every rank gives the same x, and gets the same answer.
        """
        targets = self.targets if targets is None else targets
        tf32 = self.precision == "tf32"
        found = assign(x, targets, self.of_own(heights), values=values, rough=rough, tf32=tf32)
        if not self.sharded:
            return found
        best, cell = stacked(found.best), stacked(found.cell + self.own.start)
        highest, rank = best.max(dim=0)  # of equal ones the first, which has the lower cells
        cell = cell.gather(0, rank[None])[0]
        if found.second is None:
            return Assignment(cell, highest, None)
        runners = best.scatter(0, rank[None], -torch.inf).amax(dim=0)
        return Assignment(cell, highest, torch.maximum(runners, stacked(found.second).amax(dim=0)))

    def top(self, x: Tensor, heights: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k highest scores of operands `x` and their cells, [B, k] each; of all, where there are fewer."""
        k = min(k, self.num)
        own = min(k, len(self.targets))
        best, cells = top(x, self.targets, self.of_own(heights), own, tf32=self.precision == "tf32")
        if not self.sharded:
            return best, cells
        best = torch.nn.functional.pad(best, (0, k - own), value=-torch.inf)
        cells = torch.nn.functional.pad(cells + self.own.start, (0, k - own))
        best, cells = (torch.cat(list(stacked(part)), dim=1) for part in (best, cells))
        highest = best.topk(k, dim=1)
        return highest.values, cells.gather(1, highest.indices)

    def gathered(self, own: Tensor) -> Tensor:
        """Values for all distinct targets, [n], from those for this rank's own."""
        return gathered(own, self.num) if self.sharded else own

    def summed(self, own: Tensor) -> Tensor:
        """Sum over the ranks that share the targets."""
        return summed(own) if self.sharded else own

    def of_own(self, heights: Tensor) -> Tensor:
        """This rank's part of values [n] for all distinct targets."""
        return heights[self.own.start : self.own.stop] if self.sharded else heights
