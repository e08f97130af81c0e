"""What a student learns from: images, mirrored, with noise of drawn levels."""

import torch
from torch import Tensor


def mirrored(x0: Tensor, generator: torch.Generator) -> Tensor:
    """Images x0 [B, C, H, W], each mirrored from left to right with probability 1/2."""
    flip = torch.rand(len(x0), generator=generator, device=x0.device) < 0.5
    return torch.where(flip.reshape(-1, *[1] * (x0.ndim - 1)), x0.flip(-1), x0)


def noised(x0: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """x0 [B, ...] + σ n; sigma [B, 1, ...]."""
    return x0 + sigma * torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)


def draw_levels(levels: Tensor, x0: Tensor, generator: torch.Generator) -> Tensor:
    """A row of `levels` [K, L] for each of x0 [B, ...], at random: [L, B, 1, ...], in the type of x0."""
    index = torch.randint(len(levels), (len(x0),), generator=generator, device=x0.device)
    return levels[index].to(x0.dtype).T.reshape(-1, len(x0), *[1] * (x0.ndim - 1))
