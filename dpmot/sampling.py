"""Monte Carlo histograms of cell masses: fresh samples, or many from one subspace (recycling), over one or many GPUs.

Work is cut into shards whose randomness depends on (seed, stream, step, shard) alone, and all sums are of integers: the
result is the same to the bit however many ranks share the shards. On a GPU recycled shards are recorded as CUDA graphs.
"""

import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor

from .assign import by_kernel
from .cells import Cells, generator
from .problem import Gaussian
from .ranks import memory_errors

MAX_SHARD = 16384  # source samples per shard, bounding memory
MAX_NUMBERS = 2**28  # and numbers per shard
GAP_UNIT = 2.0**-24  # score gaps are summed in fixed point, so that the order of summation does not matter
MAX_RECORDED = 2**18  # targets: with more a shard's work outlasts its launches by far, and its memory is better shared
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
    own = own_shards(cells, total, subspace or cells.dim, key)
    if subspace and not values and recordable(cells):
        if cells not in _recorded:
            _recorded[cells] = _Recorded(cells)
        counts = _recorded[cells].count(cells, heights, subspace, own)
        return Histogram(sum_over_ranks(cells, counts), None, total)
    counts = torch.zeros(cells.num, dtype=torch.int64, device=cells.device)
    gaps = torch.zeros_like(counts) if values else None
    for size, rng in own:
        if subspace:
            x, targets = _projected(cells, *_normals(cells, size, subspace, rng))
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


def _normals(cells: Cells, count: int, m: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """What a shard of recycled samples draws, standard normal: basis [m, d] and directions [count, m]."""
    like = {"generator": rng, "device": cells.device}
    return torch.randn(m, cells.dim, **like), torch.randn(count, m, **like)  # type: ignore[call-overload]


def _projected(cells: Cells, basis: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Samples of one subspace as operands (w [count, m], targets projected to it [n, m]); normalises w in place."""
    w /= w.norm(dim=1, keepdim=True)
    dtype = cells.targets.dtype
    return w.to(dtype), cells.targets @ basis.to(dtype).T


def recordable(cells: Cells) -> bool:
    """Whether shards can be recorded: those that the GPU's kernel assigns, without asking other ranks."""
    return by_kernel(cells.targets, cells.precision == "tf32") and not cells.sharded and cells.num <= MAX_RECORDED


class _Recorded:
    """Shards of recycled samples, recorded as CUDA graphs: Python takes about as long to launch one as the GPU to do it.

    A graph works on the memory that it was recorded with: normal numbers, drawn anew before each replay, heights and
    counts here, and the cells' targets. So it lives as long as the cells do, but does not keep them.
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
                normals, graph = self.shards[size, m]
                for part in normals:
                    part.normal_(generator=rng)
                graph.replay()
            else:
                normals = _normals(cells, size, m, rng)
                self._add(cells, *normals)
                self.shards[size, m] = normals, self._record(cells, *normals)
        return self.counts.clone()

    def _add(self, cells: Cells, basis: Tensor, w: Tensor) -> None:
        x, targets = _projected(cells, basis, w)
        cell = cells.assign(x, self.heights, rough=True, targets=targets).cell
        self.counts.index_add_(0, cell, torch.ones_like(cell))

    def _record(self, cells: Cells, basis: Tensor, w: Tensor) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as NCCL's, may go on with theirs: "thread_local".
        side = _side_stream(cells.device)
        with torch.cuda.graph(graph, pool=self.pool, stream=side, capture_error_mode="thread_local"):
            self._add(cells, basis, w)
        return graph


_recorded: WeakKeyDictionary[Cells, _Recorded] = WeakKeyDictionary()


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """For recording: one per device, as each stream that multiplies matrices has a workspace of its own."""
    return torch.cuda.Stream(device)
