"""Targets for the benchmark: CIFAR-10 latents, or synthetic images where there is no data."""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def latents(
    number: int, sigma: float, data: str | None = None, dataset: str = "cifar10", side: int = 32, seed: int = 0,
    device: str = "cpu",
) -> tuple[Tensor, str]:  # fmt: skip
    """`number` images in [0, 1] plus σ·noise, flattened to [N, 3·side²] float32, and what they are.

    Images of `<root>/<dataset>/{train,test}.npy` (root: `data`, else $DPMOT_DATA), enlarged to `side`; more than
    there are, are made by mirroring and by mixing pairs. Without data: random fields with a natural 1/f² spectrum.
    """
    rng = torch.Generator().manual_seed(seed)
    root = Path(data or os.environ.get("DPMOT_DATA", "")) / dataset
    files = [root / f"{split}.npy" for split in ("train", "test") if (root / f"{split}.npy").is_file()]
    if files:
        images = torch.from_numpy(np.concatenate([np.load(f, mmap_mode="r")[:number] for f in files])[:number])
        images, name = _enough(images.permute(0, 3, 1, 2).float() / 255, number, rng), dataset
    else:
        images, name = _fields(number, rng), "synthetic 1/f fields"
    images = images.to(device)
    if side != images.shape[-1]:
        images = torch.nn.functional.interpolate(images, size=(side, side), mode="bilinear")
    images = images.flatten(1)
    noise = torch.Generator(device).manual_seed(seed + 1)
    for block in images.split(8192):
        block.add_(torch.randn(block.shape, generator=noise, device=device), alpha=sigma)
    return images, f"{name}, σ = {sigma:g}"


def _enough(images: Tensor, number: int, rng: torch.Generator) -> Tensor:
    """More images than there are: mirrored ones, then averages of random pairs."""
    parts, have = [images], len(images)
    if have < number:
        parts.append(images.flip(3)[: number - have])
        have += len(parts[-1])
    if have < number:
        pairs = torch.randint(len(images), (2, number - have), generator=rng)
        parts.append((images[pairs[0]] + images[pairs[1]].flip(3)) / 2)
    return torch.cat(parts) if len(parts) > 1 else images


def _fields(number: int, rng: torch.Generator, side: int = 32) -> Tensor:
    """Colour images whose amplitude spectrum falls like 1/f, as natural images' do, in about [0, 1]."""
    frequency = torch.fft.fftfreq(side)[:, None].square() + torch.fft.rfftfreq(side)[None].square()
    amplitude = frequency.clamp(min=1 / side**2).rsqrt()
    parts = []
    for start in range(0, number, 4096):
        count = min(4096, number - start)
        white = torch.randn(count, 3, side, side, generator=rng)
        white = white + 2 * white.mean(dim=1, keepdim=True)  # colours of one image go together
        field = torch.fft.irfft2(torch.fft.rfft2(white) * amplitude, s=(side, side))
        contrast = 0.05 + 0.2 * torch.rand(count, 1, 1, 1, generator=rng)
        parts.append(0.5 + contrast * field / field.std())
    return torch.cat(parts)
