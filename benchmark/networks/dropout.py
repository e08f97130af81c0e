"""Dropout whose choice is a hash, so that nothing is kept for the gradient."""

from typing import NamedTuple

import torch
from torch import Tensor

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
