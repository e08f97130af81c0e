"""What a training run looks at as it goes: denoising losses on both splits, samples, Fréchet distances."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.metrics.frechet import Gaussian, frechet_distance
from benchmark.networks.checkpoint import SHIPPED, load_classifier
from benchmark.networks.features import MobileNetFeatures
from benchmark.train.images import as_float
from benchmark.workers import Workers, gather_rows
from samplers.base import Denoiser
from samplers.heun import Heun
from samplers.noise import ShardNoise, make_grid


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


def edm_levels(steps: int, sigma_max: float = 80.0, sigma_min: float = 0.002) -> Tensor:
    """EDM's grid of ``steps`` levels, and zero (Karras et al. 2022, equation 5); float64 ``[steps + 1]``."""
    return torch.cat([make_grid("edm", steps - 1, sigma_max, sigma_min), torch.zeros(1, dtype=torch.float64)])


@torch.no_grad()
def draw_samples(
    denoiser: Denoiser,
    shape: tuple[int, ...],
    count: int,
    device: torch.device,
    steps: int = 18,
    sigma_max: float = 80.0,
    sigma_min: float = 0.002,
    batch: int = 1000,
    first: int = 0,
    every: int = 1,
) -> Tensor:
    """Samples by EDM's Heun with ``2·steps − 1`` evaluations, float on ``device``.

    ``count`` samples are cut into batches, and of these the ones ``first``, ``first + every``, ... are drawn; batch k's
    noise comes from k alone.
    """
    sigmas = edm_levels(steps, sigma_max, sigma_min)
    samples = []
    for k in range(first, -(-count // batch), every):
        size = min(batch, count - k * batch)
        noise = ShardNoise(0, k, (size, *shape), device=device)
        samples.append(Heun().integrate(denoiser, sigmas[0] * noise.initial(), sigmas, noise))
    return torch.cat(samples)


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] -> 0..255, rounded."""
    return (images * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


def save_grid(images: Tensor, path: Path, columns: int = 10, side: int = 640) -> None:
    """Write images ``[N, C, H, W]`` in [-1, 1] as one PNG, ``columns`` wide, pixels kept square."""
    from PIL import Image

    rows = len(images) // columns
    tiles = F.pad(images[: rows * columns].float().cpu(), (0, 1, 0, 1))  # a grey line between them
    tiles = to_uint8(tiles).expand(-1, 3, -1, -1)
    height, width = tiles.shape[2:]
    mosaic = tiles.reshape(rows, columns, 3, height, width).permute(0, 3, 1, 4, 2)
    mosaic = mosaic.reshape(rows * height, columns * width, 3)
    zoom = max(1, side // (columns * width))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mosaic.numpy().repeat(zoom, 0).repeat(zoom, 1)).save(path)


def problem_features(problem: str, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Features for Fréchet distances: those of the digits' own classifier, or MobileNetV2's.

    Raises:
        CheckpointError: the weights are not there.
    """
    if problem == "digits":
        return load_classifier(SHIPPED / "digits" / "classifier.safetensors", device).features
    return MobileNetFeatures().to(device)


class FrechetMeasure:
    """FD of a denoiser's samples to the training images, in the given features; the work is dealt to all processes.

    Args:
        features: images ``[B, C, H, W]`` in [-1, 1] -> features ``[B, D]``.
        train: training images, bytes or floats.
        count: samples to draw.
        sigma_max: noise levels that sampling starts at; the distances are named ``fd<level>``.
    """

    def __init__(
        self,
        features: Callable[[Tensor], Tensor],
        train: Tensor,
        workers: Workers,
        count: int,
        sigma_max: tuple[float, ...],
    ):
        if count < workers.count:
            raise ValueError(f"{count} samples are too few for {workers.count} processes")
        self.features, self.workers, self.count, self.sigma_max = features, workers, count, sigma_max
        self.shape = tuple(train.shape[1:])
        self.reference = Gaussian.fit(self._all_features(train[workers.rank :: workers.count]))

    def _all_features(self, images: Tensor) -> Tensor:
        """Features of the images of all processes."""
        with torch.no_grad():
            return gather_rows(torch.cat([self.features(as_float(x)) for x in images.split(1000)]))

    def distance(self, images: Tensor) -> float:
        """FD of all processes' images, each giving its own."""
        return frechet_distance(Gaussian.fit(self._all_features(images)), self.reference)

    def __call__(self, denoiser: Denoiser) -> dict[str, float]:
        device, (rank, every) = self.workers.device, (self.workers.rank, self.workers.count)
        batch = min(1000, self.count // every)
        return {
            f"fd{level:g}": self.distance(
                draw_samples(
                    denoiser, self.shape, self.count, device, sigma_max=level, batch=batch, first=rank, every=every
                )
            )
            for level in self.sigma_max
        }
