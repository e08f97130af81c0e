"""Images as bytes at rest and as numbers in [−1, 1] inside."""

import torch
from torch import Tensor


def to_pixels(images: Tensor) -> Tensor:
    """Images in [−1, 1] as bytes, rounded; of any shape."""
    return (images * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


def from_pixels(pixels: Tensor) -> Tensor:
    """Bytes as images float32 in [−1, 1]; of any shape."""
    return pixels.float() / 127.5 - 1
