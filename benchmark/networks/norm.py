"""Residual addition, concatenation, group normalisation, modulation, SiLU and dropout as one operation.

:func:`add_norm` runs as plain PyTorch, and on CUDA as one Triton kernel (:mod:`benchmark.networks.norm_triton`) that
reads every activation once. Both give the same output, up to the rounding of the activation type.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-5
WORD = 2**32 - 1
GOLDEN = 0x9E3779B1


class Dropout(NamedTuple):
    """Which values become zero, each with probability ``rate``; the others are divided by 1 − rate.

    The choice is a hash of the image's seed, ``salt``, pixel and channel: nothing is kept for the gradient, and an
    image drops the same values whatever batch it is in. Pixels and channels are mixed apart, so that a value itself
    costs one product: the kernels would wait for more of them, not for memory.

    Attributes:
        seed: int64, one for each image at least, on the device, so that a recorded graph can be replayed with others.
        salt: tells apart the layers that share a seed.
    """

    rate: float
    seed: Tensor
    salt: int

    @property
    def threshold(self) -> int:
        """Hashes below it drop their value."""
        return round(self.rate * WORD)

    @property
    def salted(self) -> int:
        """The salt, spread over 31 bits."""
        return self.salt * 0x27D4EB2F % 2**31

    def keeps(self, x: Tensor) -> Tensor:
        """Whether each value of ``x`` ``[N, C, H, W]`` is kept."""
        n, c, height, width = x.shape
        pixel = _mixed(torch.arange(height * width, device=x.device) * GOLDEN + self.seed[:n, None]).flatten()
        channel = _mixed(torch.arange(c, device=x.device) * GOLDEN + self.salted)
        v = pixel[:, None] + channel & WORD
        v = (v ^ v >> 15) * 0x85EBCA6B & WORD
        return (v >= self.threshold).view(n, height, width, c).permute(0, 3, 1, 2)


def _mixed(v: Tensor) -> Tensor:
    """Every bit of 32 spread over all: the finaliser of MurmurHash3."""
    v = v & WORD
    v = (v ^ v >> 16) * 0x85EBCA6B & WORD
    v = (v ^ v >> 13) * 0xC2B2AE35 & WORD
    return v ^ v >> 16


def add_norm_plain(
    x: Tensor,
    r: Tensor | None,
    skip: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    group_size: int,
    silu: bool,
    drop: Dropout | None = None,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """:func:`add_norm` in plain PyTorch, on any device."""
    total = x if r is None else x + r
    h = total if skip is None else torch.cat([total, skip], 1)
    groups = h.shape[1] // group_size
    if len(scale) == 1:
        h = F.group_norm(h, groups, scale[0].to(h.dtype), shift[0].to(h.dtype), EPS)
    else:
        scale, shift = (t.to(h.dtype)[:, :, None, None] for t in (scale, shift))
        h = torch.addcmul(shift, F.group_norm(h, groups, eps=EPS), scale)
    h = F.silu(h, inplace=not h.requires_grad) if silu else h
    return total, skip, h if drop is None else h * drop.keeps(h) / (1 - drop.rate)


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
    return add_norm_plain(x, r, skip, scale, shift, group_size, silu, drop)
