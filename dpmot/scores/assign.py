"""Which cell holds x: argmax_j ⟨x, y_j⟩ + h_j over all targets, with the best scores.

On a GPU half-precision and TF32 operands go through the Triton kernel; all else through PyTorch, block by block. Both
accumulate in at least float32 and give ties to the lower index.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK_SCORES = {"cpu": 2**22, "cuda": 2**29}  # scores held at once: the CPU's cache, a slice of the GPU's memory


class Assignment(NamedTuple):
    """The cell of each of B samples, with its scores."""

    cell: Tensor  # [B] int64
    best: Tensor  # [B], the highest score
    second: Tensor | None  # [B], the second highest; −inf when N = 1


def assign(
    x: Tensor,
    targets: Tensor,
    heights: Tensor,
    *,
    values: bool = False,
    rough: bool = False,
    tf32: bool = False,
    kernel: bool | None = None,
) -> Assignment:
    """Cell of every row of `x`.

    x: [B, d]; targets: [N, d], same type and device; heights: [N].
    values: also give the second-highest score (the difference to the highest is a sample's distance to leaving its
        cell).
    rough: the kernel may confuse scores that agree to 2⁻¹⁵ of their size; faster where the inner dimension is small.
    tf32: let the GPU round float32 operands to TF32. kernel: force the Triton kernel (or PyTorch).
    """
    _check(x, targets, heights)
    if by_kernel(x, tf32, kernel):
        from .kernel import argmax_scores

        return Assignment(*argmax_scores(x, targets, heights, values=values, rough=rough, tf32=tf32))
    found = in_blocks(x, len(targets), lambda part: _best(scores(part, targets, heights), values))
    return Assignment(found[0], found[1], found[2] if values else None)


def top(
    x: Tensor, targets: Tensor, heights: Tensor, k: int, *, tf32: bool = False, kernel: bool | None = None
) -> tuple[Tensor, Tensor]:
    """The k ≤ N highest scores of every row of `x`, highest first, and their cells: [B, k] each.

    As for `assign`, but that ties come in any order where k > 1.
    """
    _check(x, targets, heights)
    if k == 1:
        found = assign(x, targets, heights, tf32=tf32, kernel=kernel)
        return found.best[:, None], found.cell[:, None]

    def by_torch(part: Tensor) -> tuple[Tensor, ...]:
        return tuple(scores(part, targets, heights).topk(k, dim=1))

    if not by_kernel(x, tf32, kernel):
        best, cells = in_blocks(x, len(targets), by_torch)
        return best, cells
    from .kernel import top_scores

    best, cells, unsure = top_scores(x, targets, heights, k, tf32=tf32)
    rows = unsure.nonzero()[:, 0]
    if len(rows):
        best[rows], cells[rows] = in_blocks(x[rows], len(targets), by_torch)
    return best, cells


def soft_assign(
    x: Tensor, targets: Tensor, heights: Tensor, sharpness: float, *, kernel: bool | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """(weights [B, N], highest score [B], sum of the weights [B]): softmax over the cells, before its division.

    The weights exp((⟨x_i, y_j⟩ + h_j − highest)·sharpness) are at most 1; the kernel gives them in the operands' type.
    As for `assign`; all B·N weights are held at once.
    """
    _check(x, targets, heights)
    if by_kernel(x, False, kernel):
        from .kernel import softmax_weights

        return softmax_weights(_products(x, targets), heights, sharpness, x.dtype)
    found = scores(x, targets, heights)
    highest = found.amax(dim=1)
    weights = found.sub_(highest[:, None]).mul_(sharpness).exp_()
    return weights, highest, weights.sum(dim=1)


def assign_exactly(x: Tensor, targets: Tensor, heights: Tensor, precision: torch.dtype = torch.float16) -> Tensor:
    """The argmax of float64 at nearly the speed of half precision: [B] int64. x, targets in float32.

    Rows whose two best scores in `precision` are close, or not finite, are scored again in float64. Close: within 12
    standard deviations of a score's rounding error, taken as u·√(2/3)·max|x|·max‖y‖ with the type's unit roundoff u and
    max|x| no less than its smallest normal number. That holds for errors that are independent; where all have one sign,
    as for operands that are constant, it may not. Operands are first scaled to size one by powers of two.
    """
    up, wide = (
        2.0 ** -math.frexp(float(operand.abs().max()) if operand.numel() else 0.0)[1] for operand in (x, targets)
    )
    near, small = x * up, targets * wide
    found = assign(near.to(precision), small.to(precision), (heights.double() * up * wide).float(), values=True)
    assert found.second is not None
    kind = torch.finfo(precision)
    size = near.abs().amax(dim=1).clamp(min=kind.tiny) * small.norm(dim=1).max()
    sure = found.best - found.second >= 12 * kind.eps / 2 * (2 / 3) ** 0.5 * size  # never of NaN
    close = (~(sure & found.best.isfinite())).nonzero()[:, 0]
    if len(close):
        found.cell[close] = assign(x[close].double(), targets.double(), heights).cell
    return found.cell


def scores(x: Tensor, targets: Tensor, heights: Tensor) -> Tensor:
    """⟨x_i, y_j⟩ + h_j, [B, N], in at least float32."""
    heights = heights.to(x.device, torch.promote_types(x.dtype, torch.float32))
    if x.dtype == heights.dtype:
        return torch.addmm(heights, x, targets.T)
    return _products(x, targets).add_(heights)


def _products(x: Tensor, targets: Tensor) -> Tensor:
    """⟨x_i, y_j⟩ of half operands, accumulated in float32 and kept there."""
    return torch.mm(x, targets.T, out_dtype=torch.float32) if x.is_cuda else x.float() @ targets.float().T


def in_blocks(x: Tensor, columns: int, work: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """`work` on blocks of rows of x whose [rows, columns] scores fit in memory, its results joined.

    Blocks shrink when the GPU's memory runs out; MemoryError when not even one row fits.
    """
    rows = max(1, BLOCK_SCORES.get(x.device.type, 2**24) // columns)
    while True:
        try:
            parts = [work(block) for block in x.split(rows)]
            return tuple(torch.cat(column) for column in zip(*parts, strict=True))
        except torch.OutOfMemoryError:
            if rows == 1:
                raise MemoryError(f"out of GPU memory even for one row of {columns:,} scores") from None
            rows = max(1, min(rows, len(x)) // 4)
            torch.cuda.empty_cache()


def _check(x: Tensor, targets: Tensor, heights: Tensor) -> None:
    if x.ndim != 2 or targets.ndim != 2 or x.shape[1] != targets.shape[1]:
        raise ValueError(f"x must have the shape [B, {targets.shape[-1]}], got {list(x.shape)}")
    if heights.shape != targets.shape[:1]:
        raise ValueError(f"heights must have the shape [{targets.shape[0]}], got {list(heights.shape)}")


def by_kernel(x: Tensor, tf32: bool, asked: bool | None = None) -> bool:
    """Whether operands like these go through the Triton kernel, unless `asked` says so."""
    suits = x.is_cuda and (x.dtype in (torch.float16, torch.bfloat16) or tf32) and _triton()
    return len(x) > 0 and (suits if asked is None else asked)


@cache
def _triton() -> bool:
    try:
        import triton  # noqa: F401
    except ImportError:
        return False
    return True


def _best(found: Tensor, values: bool) -> tuple[Tensor, ...]:
    """(cell, best) of scores that may be overwritten, and the second best if asked for."""
    # NumPy's argmax is several times faster than PyTorch's on a CPU.
    cell = found.argmax(dim=1) if found.is_cuda else torch.from_numpy(found.numpy().argmax(axis=1))
    best = found.gather(1, cell[:, None])[:, 0]
    if not values:
        return cell, best
    return cell, best, found.scatter_(1, cell[:, None], -torch.inf).amax(dim=1)
