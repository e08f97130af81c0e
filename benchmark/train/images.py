"""The images that training reads: whole splits, as tensors on the device."""

import os
from typing import NamedTuple

import torch
from torch import Tensor

from benchmark.data.arrays import open_images
from benchmark.data.digits import load_digits
from benchmark.data.pixels import from_pixels


class Split(NamedTuple):
    """``images``: uint8 ``[N, C, H, W]``, or float in [-1, 1] where they are no bytes; ``labels``: int64 ``[N]``."""

    images: Tensor
    labels: Tensor | None


def load_split(problem: str, split: str, device: torch.device, root: str | os.PathLike[str] | None = None) -> Split:
    """One split of a problem's images, on ``device``.

    Raises:
        DataError: the data are missing or damaged.
    """
    if problem == "digits":
        digits = load_digits(split)
        return Split(digits.images.to(device), digits.labels.to(device))
    data = open_images(problem, root)
    images = torch.from_numpy(data.images(split).copy()).to(device).permute(0, 3, 1, 2).contiguous()
    labels = data.labels(split)
    return Split(images, None if labels is None else torch.from_numpy(labels).to(device))


def as_float(images: Tensor) -> Tensor:
    """Bytes to float in [-1, 1]; floats as they are."""
    return from_pixels(images) if images.dtype == torch.uint8 else images
