"""Which cell holds x: argmax_j ⟨x, y_j⟩ + h_j over all targets, with the best and second-best score.

On a GPU half-precision and TF32 operands go through the Triton kernel; all else through PyTorch, block by block. Both
accumulate in at least float32 and give ties to the lower index.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK_SCORES = {"cpu": 2**22, "cuda": 2**29}  # scores held at once: the CPU's cache, a slice of the GPU's memory


class Assignment(NamedTuple):
    cell: Tensor  # [B] int64
    best: Tensor | None  # [B], the highest score
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
    values: also give the two highest scores (their difference is a sample's distance to leaving its cell).
    rough: the kernel may confuse scores that agree to 2⁻¹⁵ of their size; faster where the inner dimension is small.
    tf32: let the GPU round float32 operands to TF32. kernel: force the Triton kernel (or PyTorch).
    """
    if x.ndim != 2 or targets.ndim != 2 or x.shape[1] != targets.shape[1]:
        raise ValueError(f"x must have the shape [B, {targets.shape[-1]}], got {list(x.shape)}")
    if heights.shape != targets.shape[:1]:
        raise ValueError(f"heights must have the shape [{targets.shape[0]}], got {list(heights.shape)}")
    if kernel is None:
        kernel = x.is_cuda and (x.dtype in (torch.float16, torch.bfloat16) or tf32) and _triton()
    if kernel and len(x):
        from .kernel import argmax_scores

        return Assignment(*argmax_scores(x, targets, heights, values=values, rough=rough, tf32=tf32))
    heights = heights.to(x.device, torch.promote_types(x.dtype, torch.float32))
    rows = max(1, BLOCK_SCORES.get(x.device.type, 2**24) // targets.shape[0])
    while True:
        try:
            parts = [_assign_block(block, targets, heights, values) for block in x.split(rows)]
            break
        except torch.OutOfMemoryError:
            if rows == 1:
                raise MemoryError(f"out of GPU memory even for one row of {targets.shape[0]:,} scores") from None
            rows = max(1, rows // 4)
            torch.cuda.empty_cache()
    if not values:
        return Assignment(torch.cat([p.cell for p in parts]), None, None)
    return Assignment(*(torch.cat(column) for column in zip(*parts, strict=True)))


def assign_exactly(x: Tensor, targets: Tensor, heights: Tensor, precision: torch.dtype = torch.float16) -> Tensor:
    """The argmax of float64 at nearly the speed of half precision: [B] int64. x, targets in float32.

    Rows whose two best scores in `precision` are close are scored again in float64. Close: within 12 standard
    deviations of a score's rounding error, taken as u·√(2/3)·max|x|·max‖y‖ with the type's unit roundoff u.
    """
    found = assign(x.to(precision), targets.to(precision), heights, values=True)
    assert found.best is not None and found.second is not None
    roundoff = torch.finfo(precision).eps / 2
    size = x.abs().amax(dim=1) * targets.norm(dim=1).max()
    close = (found.best - found.second < 12 * roundoff * (2 / 3) ** 0.5 * size).nonzero()[:, 0]
    if len(close):
        found.cell[close] = assign(x[close].double(), targets.double(), heights).cell
    return found.cell


@cache
def _triton() -> bool:
    try:
        import triton  # noqa: F401
    except ImportError:
        return False
    return True


def _assign_block(x: Tensor, targets: Tensor, heights: Tensor, values: bool) -> Assignment:
    if x.dtype == heights.dtype:
        scores = torch.addmm(heights, x, targets.T)
    else:  # half operands: accumulate in float32 and keep the result there
        scores = torch.mm(x, targets.T, out_dtype=torch.float32) if x.is_cuda else x.float() @ targets.float().T
        scores += heights
    # NumPy's argmax is several times faster than PyTorch's on a CPU.
    cell = scores.argmax(dim=1) if scores.is_cuda else torch.from_numpy(scores.numpy().argmax(axis=1))
    if not values:
        return Assignment(cell, None, None)
    best = scores.gather(1, cell[:, None])
    second = scores.scatter_(1, cell[:, None], -torch.inf).amax(dim=1)
    return Assignment(cell, best[:, 0], second)
