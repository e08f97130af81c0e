"""Monte Carlo histograms of cell masses: fresh samples, or many from one subspace (recycling), over one or many GPUs.

Work is cut into shards whose randomness depends on (seed, stream, step, shard) alone, and all sums are of integers: the
result is the same to the bit however many ranks share the shards. On a GPU recycled shards are recorded as CUDA graphs.
"""

import math
from collections.abc import Iterator
from functools import cache
from statistics import NormalDist
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor

from ..problem import Gaussian
from .assign import by_kernel
from .cells import Cells, generator
from .ranks import memory_errors

MAX_SHARD = 16384  # source samples per shard, bounding memory
MAX_NUMBERS = 2**28  # and numbers per shard
GAP_UNIT = 2.0**-24  # score gaps are summed in fixed point, so that the order of summation does not matter
MAX_RECORDED = 2**18  # targets: with more a shard's work outlasts its launches by far, and its memory is better shared
ALL = slice(None)


class Histogram(NamedTuple):
    """How many of ``total`` samples fell into each of n cells."""

    counts: Tensor  # [n] int64, samples per cell
    gaps: Tensor | None  # [n] float64, sum over a cell's samples of best minus second-best score
    total: int


@memory_errors("no room for a block of samples beside the targets; shard_targets=True makes some, with more GPUs")
def histogram(
    cells: Cells,
    heights: Tensor,
    total: int,
    key: tuple[int, ...],
    *,
    subspace: int = 0,
    values: bool = False,
    part: slice = ALL,
) -> Histogram:
    """Assign `total` samples, or those of a `part` of their shards, and count them per cell.

    subspace: 0 for independent samples; m for recycling, by which a shard draws Z ∈ R^{m×d} standard normal and uses
    x = Zᵀw with w uniform on the unit sphere of R^m. Each x is exactly N(0, I), so the histogram stays unbiased, at
    inner dimension m instead of d; the samples of one shard are weakly dependent (`subspace_excess`). For Gaussian
    sources only.

    The ranks of a process group share the shards; where the targets are shared among them, all see every shard.
    """
    heights = heights.float()
    own = own_shards(cells, total, subspace or cells.dim, key, part)
    if subspace and not values and recordable(cells):
        if cells not in _recorded:
            _recorded[cells] = _Recorded(cells)
        counts = _recorded[cells].count(cells, heights, subspace, own)
        return Histogram(sum_over_ranks(cells, counts), None, total)
    counts = torch.zeros(cells.num, dtype=torch.int64, device=cells.device)
    gaps = torch.zeros_like(counts) if values else None
    for size, rng in own:
        if subspace:
            w, targets = _subspace(cells, size, subspace, rng)
            x = _on_sphere(w, targets.dtype)
        else:
            x, targets = cells.draw(size, rng), cells.targets
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


def own_shards(
    cells: Cells, total: int, width: int, key: tuple[int, ...], part: slice = ALL
) -> Iterator[tuple[int, torch.Generator]]:
    """(size, random generator) of the shards that are this rank's: all, where it has only a share of the targets."""
    number, (rank, world) = shard_count(total, width), sharing(cells)
    for shard in range(number)[part]:
        if shard % world == rank:
            yield total // number + (shard < total % number), generator(cells.device, *key, shard)


def sharing(cells: Cells) -> tuple[int, int]:
    """(rank, number of ranks) among which shards are shared."""
    alone = cells.sharded or not dist.is_initialized()
    return (0, 1) if alone else (dist.get_rank(), dist.get_world_size())


def sum_over_ranks(cells: Cells, sums: Tensor) -> Tensor:
    """Of what each rank counted in its own shards, in place."""
    if dist.is_initialized() and not cells.sharded:
        dist.all_reduce(sums)
    return sums


def shard_count(total: int, width: int) -> int:
    """Shards of `total` samples of `width` numbers: nearly equal in size, bounded, a multiple of 8 if large."""
    number = math.ceil(total / max(1, min(MAX_SHARD, MAX_NUMBERS // width)))
    return 8 * math.ceil(number / 8) if total >= 32768 else number


def subspace_size(cells: Cells) -> int:
    """Inner dimension m for recycling; 0 where it does not apply or does not pay."""
    m = 64
    return m if isinstance(cells.problem.source, Gaussian) and cells.dim >= 4 * m else 0


def subspace_excess(m: int, shard: int, num: int) -> float:
    """How much recycling adds to the variance of a histogram, relative to independent samples.

    In a subspace ‖z_j‖ is off by a factor of relative variance 1/(2m), and the chance to exceed the others' maximum,
    near q = Φ⁻¹(1 − 1/n) deviations, by q² times that: cells' masses there have the relative variance q⁴/(2m).
    """
    if not m:
        return 0.0
    q = NormalDist().inv_cdf(1 - 1 / max(num, 2))
    return q**4 / (2 * m) * shard / num


def _subspace(
    cells: Cells, count: int, m: int, rng: torch.Generator, out: tuple[Tensor | None, Tensor | None] = (None, None)
) -> tuple[Tensor, Tensor]:
    """Samples of one random subspace: (w [count, m], yet to be normalised; targets projected to it [n, m])."""
    like = {"generator": rng, "device": cells.device}
    basis = torch.randn(m, cells.dim, **like)  # type: ignore[call-overload]
    w = torch.randn(count, m, out=out[0], **like)  # type: ignore[call-overload]
    return w, torch.mm(cells.targets, basis.to(cells.targets.dtype).T, out=out[1])


def _on_sphere(w: Tensor, dtype: torch.dtype) -> Tensor:
    """w [count, m] made unit vectors, in place, as operands."""
    w /= w.norm(dim=1, keepdim=True)
    return w.to(dtype)


def recordable(cells: Cells) -> bool:
    """Whether shards can be recorded: those that the GPU's kernel assigns, without asking other ranks."""
    return by_kernel(cells.targets, cells.precision == "tf32") and not cells.sharded and cells.num <= MAX_RECORDED


class _Recorded:
    """Shards of recycled samples, recorded as CUDA graphs: launching one took Python nearly as long as the GPU works.

    A graph works on the memory it was recorded with: heights and counts here, and a shard's samples and targets, which
    are made anew before each replay. They stay out of it, as random numbers and matrix products are delicate in graphs:
    the end of another graph may free what cuBLAS works in (PyTorch's issue 193402).
    """

    def __init__(self, cells: Cells):
        self.heights = torch.empty(cells.num, device=cells.device)
        self.counts = torch.empty(cells.num, dtype=torch.int64, device=cells.device)
        self.pool = torch.cuda.graph_pool_handle()  # one for all: graphs run in turn and leave nothing in it
        self.shards: dict[tuple[int, int], tuple[tuple[Tensor, Tensor], torch.cuda.CUDAGraph]] = {}

    def count(self, cells: Cells, heights: Tensor, m: int, shards: Iterator[tuple[int, torch.Generator]]) -> Tensor:
        """Samples per cell, [n] int64. The first shard of a size is launched, as kernels compile then, and recorded."""
        self.heights.copy_(heights)
        self.counts.zero_()
        for size, rng in shards:
            if (size, m) in self.shards:
                memory, graph = self.shards[size, m]
                _subspace(cells, size, m, rng, out=memory)
                graph.replay()
            else:
                memory = _subspace(cells, size, m, rng)
                self._add(cells, *memory)
                self.shards[size, m] = memory, self._record(cells, *memory)
        return self.counts.clone()

    def _add(self, cells: Cells, w: Tensor, targets: Tensor) -> None:
        x = _on_sphere(w, targets.dtype)
        cell = cells.assign(x, self.heights, rough=True, targets=targets).cell
        self.counts.index_add_(0, cell, torch.ones_like(cell))

    def _record(self, cells: Cells, w: Tensor, targets: Tensor) -> torch.cuda.CUDAGraph:
        graph, side = torch.cuda.CUDAGraph(), _side_stream(cells.device)
        # "thread_local": other threads, such as NCCL's, go on with what may not be recorded.
        with torch.cuda.graph(graph, pool=self.pool, stream=side, capture_error_mode="thread_local"):
            self._add(cells, w, targets)
        return graph


_recorded: WeakKeyDictionary[Cells, _Recorded] = WeakKeyDictionary()  # goes with the cells, and does not keep them


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """To record on. PyTorch's own is of the device that was current when it was first asked for."""
    return torch.cuda.Stream(device)
