"""Which cell holds x: argmax_j ⟨x, y_j⟩ + h_j over all targets, with the best and second-best score.

The reference path is plain PyTorch, block by block; ties go to the lower index everywhere.
"""

from typing import NamedTuple

import torch
from torch import Tensor

BLOCK_SCORES = {"cpu": 2**22, "cuda": 2**29}  # scores held at once: the CPU's cache, a slice of the GPU's memory


class Assignment(NamedTuple):
    index: Tensor  # [B] int64
    best: Tensor | None  # [B], the highest score
    second: Tensor | None  # [B], the second highest; −inf when N = 1


def assign(x: Tensor, targets: Tensor, heights: Tensor, *, values: bool = False) -> Assignment:
    """Cell of every row of `x`.

    x: [B, d]; targets: [N, d], same type and device; heights: [N]. Scores are accumulated in at least float32.
    With `values` the two highest scores come along (their difference is a sample's distance to leaving its cell).
    """
    if x.ndim != 2 or targets.ndim != 2 or x.shape[1] != targets.shape[1]:
        raise ValueError(f"x must have the shape [B, {targets.shape[1]}], got {list(x.shape)}")
    if heights.shape != targets.shape[:1]:
        raise ValueError(f"heights must have the shape [{targets.shape[0]}], got {list(heights.shape)}")
    dtype = torch.promote_types(x.dtype, torch.float32)
    heights = heights.to(x.device, dtype)
    rows = max(1, BLOCK_SCORES.get(x.device.type, 2**24) // targets.shape[0])
    parts = [_assign_block(block, targets, heights, values) for block in x.split(rows)]
    if not values:
        return Assignment(torch.cat([p.index for p in parts]), None, None)
    return Assignment(*(torch.cat(column) for column in zip(*parts, strict=True)))  # type: ignore[arg-type]


def _assign_block(x: Tensor, targets: Tensor, heights: Tensor, values: bool) -> Assignment:
    if x.dtype == heights.dtype:
        scores = torch.addmm(heights, x, targets.T)
    else:  # half operands: let the matmul accumulate in float32 and keep its result there
        scores = torch.mm(x, targets.T, out_dtype=torch.float32) if x.is_cuda else x.float() @ targets.float().T
        scores += heights
    # NumPy's argmax is several times faster than PyTorch's on a CPU.
    index = scores.argmax(dim=1) if scores.is_cuda else torch.from_numpy(scores.numpy().argmax(axis=1))
    if not values:
        return Assignment(index, None, None)
    best = scores.gather(1, index[:, None])
    second = scores.scatter_(1, index[:, None], -torch.inf).amax(dim=1)
    return Assignment(index, best[:, 0], second)
