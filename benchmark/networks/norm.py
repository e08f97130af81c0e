"""Residual addition, concatenation, group normalisation, modulation, SiLU and dropout as one operation.

:func:`add_norm` runs as plain PyTorch, and on CUDA as one Triton kernel (:mod:`benchmark.networks.norm_triton`) that
reads every activation once. Both give the same output, up to the rounding of the activation type.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.networks.dropout import Dropout


def add_norm(
    x: Tensor,
    r: Tensor | None,
    skip: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    group_size: int,
    silu: bool,
    drop: Dropout | None = None,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """``dropout(act(groupnorm(cat[x + r, skip]) * scale + shift))``, with what it was made from.

    Args:
        x: ``[N, C, H, W]``; r: the same shape, or None for none.
        skip: ``[N, S, H, W]`` joined behind ``x + r``, or None; C and S are multiples of ``group_size``.
        scale, shift: ``[1 or N, C + S]``, float32.
        group_size: channels per group (no group spans ``x`` and ``skip``).
        silu: apply SiLU, else nothing.
        drop: dropout, in training; not together with ``skip``.

    Returns:
        ``x + r`` ``[N, C, H, W]``; ``skip``, to be used in the place of the argument, so that its gradients are summed
        in the same kernel; and the normalised activation ``[N, C + S, H, W]``.
    """
    if x.is_cuda:
        from benchmark.networks import norm_triton

        if norm_triton.supports(x):
            return norm_triton.AddNorm.apply(x, r, skip, scale, shift, group_size, silu, drop)
    total = x if r is None else x + r
    h = total if skip is None else torch.cat([total, skip], 1)
    groups = h.shape[1] // group_size
    if len(scale) == 1:
        h = F.group_norm(h, groups, scale[0].to(h.dtype), shift[0].to(h.dtype))
    else:
        scale, shift = (t.to(h.dtype)[:, :, None, None] for t in (scale, shift))
        h = torch.addcmul(shift, F.group_norm(h, groups), scale)
    h = F.silu(h, inplace=not h.requires_grad) if silu else h
    return total, skip, h if drop is None else h * drop.keeps(h) / (1 - drop.rate)
