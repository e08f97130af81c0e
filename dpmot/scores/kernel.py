"""Triton kernels: argmax_j ⟨x_i, y_j⟩ + h_j (and the two best values) without ever writing a score; softmax weights.

One program owns a block of rows and a chunk of consecutive target tiles. Each tile is a matrix product on the tensor
cores with float32 accumulation that starts from the heights; its maximum, the index and, if asked for, the second-best
value are taken in registers and merged with the chunk's running ones. A chunk writes one entry per row; a last pass
over the few chunks gives the result. Programs are ordered in groups of row blocks, so that what runs at one time shares
both operands in the L2 cache. Ties go to the lower index.

The softmax needs the scores twice, for the maximum and for the weights. One program takes one row of them, which the L2
cache still holds the second time, and writes the weights in the type in which a matrix product will sum the targets.

Both run on a CPU under TRITON_INTERPRET=1, for the tests.
"""

import math
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor


class Tiling(NamedTuple):
    """How the kernel cuts the product of samples and targets, and with how many threads."""

    rows: int  # of x per program
    cols: int  # targets per tile
    inner: int  # of the inner dimension per step
    chunk: int  # tiles per program
    group: int  # row blocks that run side by side
    warps: int
    stages: int


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _argmax_kernel(  # type: ignore[no-untyped-def]
    x, y, heights, best_out, second_out, cell_out,
    num_rows, num_targets, num_chunks, dim: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr, INNER: tl.constexpr, CHUNK: tl.constexpr, GROUP: tl.constexpr,
    WHOLE: tl.constexpr, SECOND: tl.constexpr, PACKED: tl.constexpr, TF32: tl.constexpr,
):  # fmt: skip
    precision: tl.constexpr = "tf32" if TF32 else "ieee"
    lowest: tl.constexpr = -3.0e38 if PACKED else float("-inf")  # an infinity with other low bits is no number
    row_blocks = tl.cdiv(num_rows, ROWS)
    program = tl.program_id(0)
    per_group = GROUP * num_chunks
    first_block = (program // per_group) * GROUP
    in_group = tl.minimum(row_blocks - first_block, GROUP)
    row = (first_block + (program % per_group) % in_group) * ROWS
    chunk = (program % per_group) // in_group

    best = tl.full([ROWS], float("-inf"), tl.float32)
    second = tl.full([ROWS], float("-inf"), tl.float32)
    cell = tl.zeros([ROWS], tl.int32)
    column = tl.arange(0, COLS)
    if WHOLE:  # the rows' operand fits in one step: load it once
        x_whole = x.load([row, 0])
    for tile in tl.range(0, CHUNK):
        base = (chunk * CHUNK + tile) * COLS
        h = tl.load(heights + base + column, mask=base + column < num_targets, other=lowest)
        score = tl.zeros([ROWS, COLS], tl.float32)
        if WHOLE:
            score = tl.dot(x_whole, y.load([base, 0]).T, score, input_precision=precision)
        else:
            for k in tl.range(0, dim, INNER):
                score = tl.dot(x.load([row, k]), y.load([base, k]).T, score, input_precision=precision)
        score += h[None, :]
        if PACKED:  # one pass of two instructions a score in the place of four
            bits = score.to(tl.int32, bitcast=True) & -COLS | column[None, :]
            top = tl.max(bits.to(tl.float32, bitcast=True), axis=1)
            where = top.to(tl.int32, bitcast=True) & (COLS - 1)
        else:
            top = tl.max(score, axis=1)
            where = tl.min(tl.where(score == top[:, None], column[None, :], COLS), axis=1)
        if SECOND:
            rest = tl.max(tl.where(column[None, :] == where[:, None], float("-inf"), score), axis=1)
            second = tl.maximum(tl.maximum(second, rest), tl.minimum(best, top))
        cell = tl.where(top > best, base + where, cell)  # strictly better: ties stay with the earlier tile
        best = tl.maximum(best, top)
    at = row + tl.arange(0, ROWS)
    out = at.to(tl.int64) * num_chunks + chunk
    tl.store(best_out + out, best, mask=at < num_rows)
    tl.store(cell_out + out, cell, mask=at < num_rows)
    if SECOND:
        tl.store(second_out + out, second, mask=at < num_rows)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _softmax_kernel(  # type: ignore[no-untyped-def]
    products, heights, weights, highest_out, total_out, num_targets, sharpness, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    products += row * num_targets
    weights += row * num_targets
    column = tl.arange(0, BLOCK)
    highest = tl.full([BLOCK], float("-inf"), tl.float32)
    for start in range(0, num_targets, BLOCK):
        inside = start + column < num_targets
        h = tl.load(heights + start + column, mask=inside, other=float("-inf"))
        highest = tl.maximum(highest, tl.load(products + start + column, mask=inside, other=0.0) + h)
    top = tl.max(highest, axis=0)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, num_targets, BLOCK):
        inside = start + column < num_targets
        h = tl.load(heights + start + column, mask=inside, other=float("-inf"))
        score = tl.load(products + start + column, mask=inside, other=0.0) + h
        weight = tl.exp2((score - top) * sharpness)
        total += weight
        tl.store(weights + start + column, weight.to(weights.dtype.element_ty), mask=inside)
    tl.store(highest_out + row, top)
    tl.store(total_out + row, tl.sum(total, axis=0))


def tiling(dim: int, num_targets: int, second: bool, element: int) -> Tiling:
    """Measured on an H200. Small inner dimension: the rows stay in shared memory and target tiles stream past them."""
    small = dim * element
    if small <= 512:
        return Tiling(128, 64 if small <= 128 else 128, _power(dim), 16, 16, 8 if second else 4, 2)
    return Tiling(128, 128 if second else 256, 128 // element, 1, 16, 8, 4)


def argmax_scores(
    x: Tensor,
    targets: Tensor,
    heights: Tensor,
    *,
    values: bool = False,
    rough: bool = False,
    tf32: bool = False,
    tile: Tiling | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """(cell [B] int64, best [B], second [B] or None) for operands of equal type, fp16, bf16 or fp32 (with `tf32`).

    rough: keep the column within a tile in the lowest 6 to 8 of the 23 bits of a score's mantissa. Scores that agree to
    2⁻¹⁵, less than half-precision operands resolve, may then change places, and the maximum takes one pass.
    """
    if values and rough:
        raise ValueError("rough scores have no values to give")
    tile = tile or tiling(x.shape[1], len(targets), values, x.element_size())
    return _merge(*_launch(x, targets, heights, values, rough, tf32, tile), values)


def top_scores(
    x: Tensor, targets: Tensor, heights: Tensor, k: int, *, tf32: bool = False, tile: Tiling | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """(best [B, k], cells [B, k] int64, unsure [B] bool): the k best of the tiles' maxima, highest first.

    These are the k best scores, unless one tile holds two of them; rows where that may be so are called unsure.
    """
    tile = (tile or tiling(x.shape[1], len(targets), True, x.element_size()))._replace(chunk=1)
    if k > math.ceil(len(targets) / tile.cols):
        empty = x.new_zeros(len(x), k, dtype=torch.float32)
        return empty, empty.long(), torch.ones(len(x), dtype=torch.bool, device=x.device)
    best, second, cell = _launch(x, targets, heights, True, False, tf32, tile)
    values, tiles = _highest(best, k)
    return values, cell.gather(1, tiles).long(), second.amax(dim=1) > values[:, -1]


def softmax_weights(
    products: Tensor, heights: Tensor, sharpness: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """(weights [B, N] in `dtype`, their highest score [B], their sum [B]) of products ⟨x_i, y_j⟩ [B, N] in float32.

    The weights exp((⟨x_i, y_j⟩ + h_j − highest)·sharpness) are at most 1.
    """
    products = products.contiguous()
    rows, n = products.shape
    weights = torch.empty(rows, n, dtype=dtype, device=products.device)
    highest, total = (torch.empty(rows, dtype=torch.float32, device=products.device) for _ in range(2))
    block = min(4096, _power(n))
    _softmax_kernel[(rows,)](
        products, heights.float(), weights, highest, total, n, sharpness / math.log(2), block, num_warps=8
    )
    return weights, highest, total


def _launch(
    x: Tensor, targets: Tensor, heights: Tensor, values: bool, rough: bool, tf32: bool, tile: Tiling
) -> tuple[Tensor, Tensor, Tensor]:
    """(best, second, cell) of every row in every chunk of targets: [B, chunks] each; second only with `values`."""
    (rows, dim), n = x.shape, targets.shape[0]
    whole = tile.inner >= dim
    tiles = math.ceil(n / tile.cols)
    chunk = min(tile.chunk, tiles)
    chunks = math.ceil(tiles / chunk)
    x, targets = _aligned(x), _aligned(targets)
    like: dict[str, Any] = {"device": x.device, "dtype": torch.float32}
    best = torch.empty(rows, chunks, **like)
    second = torch.empty(rows, chunks, **like) if values else best
    cell = torch.empty(rows, chunks, device=x.device, dtype=torch.int32)
    grid = (math.ceil(rows / tile.rows) * chunks,)
    _argmax_kernel[grid](
        TensorDescriptor.from_tensor(x, [tile.rows, tile.inner]),
        TensorDescriptor.from_tensor(targets, [tile.cols, tile.inner]),
        heights.float(), best, second, cell,
        rows, n, chunks, dim,
        tile.rows, tile.cols, tile.inner, chunk, tile.group, whole, values, rough, tf32,
        num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return best, second, cell


def _merge(best: Tensor, second: Tensor, cell: Tensor, values: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Over the chunks; the first of equal maxima wins, which is the one with the lower cells."""
    top, chunk = best.max(dim=1)
    chosen = cell.gather(1, chunk[:, None])[:, 0].long()
    if not values:
        return chosen, top, None
    runners = best.scatter(1, chunk[:, None], -torch.inf).amax(dim=1)
    return chosen, top, torch.maximum(runners, second.amax(dim=1))


def _highest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k highest of each row and where they are, [B, k] each; overwrites `values`."""
    if k > 16:
        return tuple(values.topk(k, dim=1))  # type: ignore[return-value]
    found = []
    for _ in range(k):  # a maximum is far cheaper than PyTorch's selection of many short rows
        found.append(values.max(dim=1, keepdim=True))
        values.scatter_(1, found[-1].indices, -torch.inf)
    return torch.cat([best.values for best in found], dim=1), torch.cat([best.indices for best in found], dim=1)


def _aligned(x: Tensor) -> Tensor:
    """Rows of a multiple of 16 bytes, as the GPU's bulk copies ask for; zeros change no score."""
    x = x.contiguous()
    extra = -x.shape[1] % (16 // x.element_size())
    return torch.nn.functional.pad(x, (0, extra)) if extra else x


def _power(dim: int) -> int:
    return max(16, 1 << (dim - 1).bit_length())
