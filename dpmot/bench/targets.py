"""Targets for the benchmark: CIFAR-10 latents, or synthetic images where there is no data."""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

SPLITS = ("train", "test")
SYNTHETIC = "synthetic 1/f fields"


def latents(
    number: int, sigma: float, data: str | None = None, dataset: str = "cifar10", side: int = 32, seed: int = 0,
    device: str = "cpu",
) -> tuple[Tensor, str]:  # fmt: skip
    """`number` images in [0, 1] plus σ·noise, flattened to [N, 3·side²] float32, and what they are.

    As many as it takes, in this order: the images of `<root>/<dataset>/train.npy`, of `test.npy` (root: `data`, else
    $DPMOT_DATA), their mirror images, averages of random pairs of an image and a mirrored one. So N = 200,000 of
    CIFAR-10 are 50,000 training and 10,000 test images, 60,000 mirrored, 80,000 averages; the name counts them, unless
    all are training images. All are enlarged to `side`. Without data: random fields with a natural 1/f² spectrum.
    """
    if number < 1 or side < 1 or not sigma >= 0:
        raise ValueError(f"no {number} targets of {side} × {side} pixels at σ = {sigma:g}")
    rng = torch.Generator().manual_seed(seed)
    root = Path(data or os.environ.get("DPMOT_DATA", "")) / dataset
    files = {split: root / f"{split}.npy" for split in SPLITS if (root / f"{split}.npy").is_file()}
    if files:
        images, counts = _enough({split: np.load(file, mmap_mode="r") for split, file in files.items()}, number, rng)
        made = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
        name = dataset if list(counts) == ["train"] else f"{dataset} ({made})"
    else:
        images, name = _fields(number, rng), SYNTHETIC
    images = images.to(device)
    if side != images.shape[-1]:
        images = torch.nn.functional.interpolate(images, size=(side, side), mode="bilinear")
    images = images.flatten(1)
    noise = torch.Generator(device).manual_seed(seed + 1)
    for block in images.split(8192):
        block.add_(torch.randn(block.shape, generator=noise, device=device), alpha=sigma)
    return images, f"{name}, σ = {sigma:g}"


def _enough(splits: dict[str, np.ndarray], number: int, rng: torch.Generator) -> tuple[Tensor, dict[str, int]]:
    """`number` images [N, 3, side, side] from those of the splits, uint8 [n, side, side, 3], and how many of which."""
    counts, left = {}, number
    for split, images in splits.items():
        counts[split] = min(len(images), left)
        left -= counts[split]
    first = np.concatenate([images[: counts[split]] for split, images in splits.items()])
    own = torch.from_numpy(first).permute(0, 3, 1, 2).float() / 255
    counts["mirrored"] = min(len(own), left)
    counts["averaged pairs"] = left - counts["mirrored"]
    parts = [own, own[: counts["mirrored"]].flip(3)]
    if counts["averaged pairs"]:
        one, other = torch.randint(len(own), (2, counts["averaged pairs"]), generator=rng)
        parts.append((own[one] + own[other].flip(3)) / 2)
    return torch.cat(parts), {kind: count for kind, count in counts.items() if count}


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
