"""What a training run looks at as it goes: denoising losses on both splits, samples, Fréchet distances."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from samplers.base import Denoiser
from samplers.noise import make_grid


def edm_loss(denoiser: Denoiser, x0: Tensor, sigma: Tensor, noise: Tensor, sigma_data: float = 0.5) -> Tensor:
    """EDM's weighted denoising error of each image ``[B]`` (Karras et al. 2022, equation 8), mean over pixels."""
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    denoised = denoiser(x0 + sigma[:, None, None, None] * noise, sigma)
    return weight * (denoised - x0).square().mean((1, 2, 3))


@torch.no_grad()
def denoising_loss(
    denoiser: Denoiser, images: Tensor, p_mean: float, p_std: float, batch: int = 1000, seed: int = 0
) -> float:
    """Mean EDM loss over ``images`` (float, in [-1, 1]), with noise and noise levels fixed by ``seed``."""
    generator = torch.Generator(images.device).manual_seed(seed)
    losses = []
    for x0 in images.split(batch):
        draw = torch.randn(len(x0), generator=generator, device=x0.device)
        noise = torch.randn(x0.shape, generator=generator, device=x0.device)
        losses.append(edm_loss(denoiser, x0, (p_mean + p_std * draw).exp(), noise))
    return torch.cat(losses).double().mean().item()


@torch.no_grad()
def heun(denoiser: Denoiser, noise: Tensor, steps: int, sigma_max: float, sigma_min: float) -> Tensor:
    """EDM's deterministic sampler (Karras et al. 2022, Algorithm 1): ``2·steps − 1`` evaluations from σ_max to 0."""
    levels = [*make_grid("edm", steps - 1, sigma_max, sigma_min).tolist(), 0.0]
    x = noise * levels[0]
    for sigma, sigma_next in zip(levels[:-1], levels[1:], strict=True):
        d_cur = (x - denoiser(x, torch.tensor(sigma))) / sigma
        x_next = x + (sigma_next - sigma) * d_cur
        if sigma_next > 0:
            d_prime = (x_next - denoiser(x_next, torch.tensor(sigma_next))) / sigma_next
            x_next = x + (sigma_next - sigma) * (d_cur + d_prime) / 2
        x = x_next
    return x


def draw_samples(
    denoiser: Denoiser,
    shape: tuple[int, ...],
    count: int,
    device: torch.device,
    steps: int = 18,
    sigma_max: float = 80.0,
    sigma_min: float = 0.002,
    batch: int = 1000,
    seed: int = 0,
) -> Tensor:
    """``count`` samples by :func:`heun`, float on ``device``; batch k's noise comes from (seed, k) alone."""
    samples = []
    for k, start in enumerate(range(0, count, batch)):
        generator = torch.Generator(device).manual_seed(seed * 1_000_003 + k)
        noise = torch.randn(min(batch, count - start), *shape, generator=generator, device=device)
        samples.append(heun(denoiser, noise, steps, sigma_max, sigma_min))
    return torch.cat(samples)


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] -> 0..255, rounded."""
    return (images * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


def save_grid(images: Tensor, path: Path, columns: int = 10, side: int = 640) -> None:
    """Write images ``[N, C, H, W]`` in [-1, 1] as one PNG, ``columns`` wide, pixels kept square."""
    from PIL import Image

    rows = len(images) // columns
    n, (channels, height, width) = rows * columns, images.shape[1:]
    pixels = to_uint8(images[:n]).cpu().expand(n, 3, height, width) if channels == 1 else to_uint8(images[:n]).cpu()
    mosaic = pixels.reshape(rows, columns, 3, height, width).permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, 3)
    zoom = max(1, side // (columns * width))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mosaic.numpy().repeat(zoom, 0).repeat(zoom, 1)).save(path)


def statistics(features: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of features ``[N, D]``, in float64."""
    features = features.double()
    return features.mean(0).cpu().numpy(), torch.cov(features.T).cpu().numpy()


def frechet_distance(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> float:
    """Squared Fréchet distance of two Gaussians (Dowson & Landau 1982), each given by mean and covariance."""
    (mean_a, cov_a), (mean_b, cov_b) = a, b
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0)).sum()
    return float(np.square(mean_a - mean_b).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


Features = Callable[[Tensor], Tensor]
"""Images ``[B, C, H, W]`` in [-1, 1] -> features ``[B, D]``."""
