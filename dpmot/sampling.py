"""Monte Carlo histograms of cell masses: fresh samples, or many from one subspace (recycling), over one or many GPUs.

Work is cut into shards whose randomness depends on (seed, stream, step, shard) alone, and all sums are of integers: the
result is the same to the bit however many ranks share the shards.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from .cells import Cells, generator
from .problem import Gaussian
from .ranks import memory_errors

MAX_SHARD = 16384  # source samples per shard, bounding memory
MAX_NUMBERS = 2**28  # and numbers per shard
GAP_UNIT = 2.0**-24  # score gaps are summed in fixed point, so that the order of summation does not matter
RECYCLING_EXCESS = 70.0  # variance between subspaces, times m: measured on CIFAR-10 latents, m = 64 to 512


class Histogram(NamedTuple):
    counts: Tensor  # [n] int64, samples per cell
    gaps: Tensor | None  # [n] float64, sum over a cell's samples of best minus second-best score
    total: int


@memory_errors("no room for a block of samples beside the targets; shard_targets=True makes some, with more GPUs")
def histogram(
    cells: Cells, heights: Tensor, total: int, key: tuple[int, ...], *, subspace: int = 0, values: bool = False
) -> Histogram:
    """Assign `total` samples and count them per cell.

    subspace: 0 for independent samples; m for recycling, by which a shard draws Z ∈ R^{m×d} standard normal and uses
    x = Zᵀw with w uniform on the unit sphere of R^m. Each x is exactly N(0, I), so the histogram stays unbiased, at
    inner dimension m instead of d; the samples of one shard are weakly dependent (variance grows by about
    70·shard/(m·n)). For Gaussian sources only.

    The ranks of a process group share the shards; where the targets are shared among them, all see every shard.
    """
    heights = heights.float()
    counts = torch.zeros(cells.num, dtype=torch.int64, device=cells.device)
    gaps = torch.zeros_like(counts) if values else None
    for size, rng in own_shards(cells, total, subspace or cells.dim, key):
        x, targets = _recycled(cells, size, subspace, rng) if subspace else (cells.draw(size, rng), cells.targets)
        rough = subspace > 0 and not values  # recycled samples steer the descent, and never certify it
        found = cells.assign(x, heights, values=values, rough=rough, targets=targets)
        counts.index_add_(0, found.cell, torch.ones_like(found.cell))
        if values:
            gap = (found.best - found.second).clamp_(max=1e3)  # type: ignore[operator]
            gaps.index_add_(0, found.cell, (gap / GAP_UNIT).long())  # type: ignore[union-attr]
    for sums in (counts, gaps):
        if sums is not None:
            sum_over_ranks(cells, sums)
    return Histogram(counts, gaps.double() * GAP_UNIT if gaps is not None else None, total)


def own_shards(cells: Cells, total: int, width: int, key: tuple[int, ...]) -> Iterator[tuple[int, torch.Generator]]:
    """(size, random generator) of the shards that are this rank's: all, where it has only a share of the targets."""
    alone = cells.sharded or not dist.is_initialized()
    rank, world = (0, 1) if alone else (dist.get_rank(), dist.get_world_size())
    for shard, size in enumerate(shards(total, width)):
        if shard % world == rank:
            yield size, generator(cells.device, *key, shard)


def sum_over_ranks(cells: Cells, sums: Tensor) -> Tensor:
    """Of what each rank counted in its own shards, in place."""
    if dist.is_initialized() and not cells.sharded:
        dist.all_reduce(sums)
    return sums


def shards(total: int, width: int) -> list[int]:
    """Sizes of the shards of `total` samples of `width` numbers: nearly equal, bounded, a multiple of 8 if large."""
    number = math.ceil(total / max(1, min(MAX_SHARD, MAX_NUMBERS // width)))
    if total >= 32768:
        number = 8 * math.ceil(number / 8)
    return [total // number + (i < total % number) for i in range(number)]


def subspace_size(cells: Cells) -> int:
    """Inner dimension m for recycling; 0 where it does not apply or does not pay."""
    m = 64
    return m if isinstance(cells.problem.source, Gaussian) and cells.dim >= 4 * m else 0


def subspace_excess(m: int, shard: int, num: int) -> float:
    """How much recycling adds to the variance of a histogram, relative to independent samples."""
    return RECYCLING_EXCESS * shard / (m * num) if m else 0.0


def _recycled(cells: Cells, count: int, m: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Samples of one random subspace as (w [count, m], targets projected to it [n, m])."""
    like = {"generator": rng, "device": cells.device}
    basis = torch.randn(m, cells.dim, **like)  # type: ignore[call-overload]
    w = torch.randn(count, m, **like)  # type: ignore[call-overload]
    w /= w.norm(dim=1, keepdim=True)
    dtype = cells.targets.dtype
    return w.to(dtype), cells.targets @ basis.to(dtype).T
