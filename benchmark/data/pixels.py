"""Images as bytes at rest and as numbers in [−1, 1] inside."""

import torch
from torch import Tensor


def to_pixels(images: Tensor) -> Tensor:
    """Round images in [−1, 1] to the bytes that they are stored as, uint8; of any shape."""
    return (images * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


def from_pixels(pixels: Tensor) -> Tensor:
    """Turn bytes into images in [−1, 1], float32; of any shape."""
    return pixels.float() / 127.5 - 1
