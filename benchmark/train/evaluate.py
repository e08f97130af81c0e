"""What a training run looks at as it goes: denoising losses on both splits, samples, Fréchet distances."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.data.pixels import to_pixels
from benchmark.metrics.estimation.gaussian import Gaussian
from benchmark.metrics.estimation.neighbours import Index
from benchmark.metrics.extractors import make_extractor
from benchmark.metrics.extractors.classifier import checkpoint
from benchmark.metrics.frechet import frechet_distance
from benchmark.train.images import as_float
from benchmark.workers import Workers, gather_rows
from samplers.base import Denoiser
from samplers.errors import UserError
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
    batch: int = 1000,
    first: int = 0,
    every: int = 1,
) -> Tensor:
    """Samples by EDM's Heun with ``2·steps − 1`` evaluations, float on ``device``.

    ``count`` samples are cut into batches, and of these the ones ``first``, ``first + every``, ... are drawn; batch k's
    noise comes from k alone.
    """
    sigmas = edm_levels(steps, sigma_max)
    samples = []
    for k in range(first, -(-count // batch), every):
        size = min(batch, count - k * batch)
        noise = ShardNoise(0, k, (size, *shape), device=device)
        samples.append(Heun().integrate(denoiser, sigmas[0] * noise.initial(), sigmas, noise))
    return torch.cat(samples)


def save_grid(images: Tensor, path: Path, columns: int = 10, side: int = 640) -> None:
    """Write images ``[N, C, H, W]`` in [-1, 1] as one PNG, ``columns`` wide, pixels kept square."""
    from PIL import Image

    rows = len(images) // columns
    tiles = F.pad(images[: rows * columns].float().cpu(), (0, 1, 0, 1))  # a grey line between them
    tiles = to_pixels(tiles).expand(-1, 3, -1, -1)
    height, width = tiles.shape[2:]
    mosaic = tiles.reshape(rows, columns, 3, height, width).permute(0, 3, 1, 4, 2)
    mosaic = mosaic.reshape(rows * height, columns * width, 3)
    zoom = max(1, side // (columns * width))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mosaic.numpy().repeat(zoom, 0).repeat(zoom, 1)).save(path)


Features = Callable[[Tensor], Tensor]
"""Images ``[B, C, H, W]`` in [-1, 1] -> features ``[B, D]``."""


def problem_features(problem: str, device: torch.device) -> dict[str, Features]:
    """Features for Fréchet distances, the deciding ones first: MobileNetV2's, and those of the problem's classifier.

    Digits have those of their classifier alone.

    Raises:
        UserError: the weights are not there.
    """
    found: dict[str, Features] = {}
    if problem != "digits":
        found["mobilenet_v2"] = make_extractor("mobilenet_v2", device=device)
    if checkpoint(problem).exists():
        found["classifier"] = make_extractor(f"classifier:{problem}", device=device)
    return found


class SampleMeasure:
    """Fréchet distances of a denoiser's samples to the training images, and the share of copies among them.

    The work is dealt to all processes. A copy is nearer (pixels, L2) to a training image than 99% of the held-out
    images are, so that held-out images themselves score 1%.

    Args:
        features: by name; the distances in the first are called ``fd<level>``, others ``fd<level> <name>``.
        train: training images, bytes or floats.
        held_out: images that were not trained on; None for no copies.
        count: samples to draw.
        sigma_max: noise levels that sampling starts at; copies are looked for at the first.
    """

    def __init__(
        self,
        features: dict[str, Features],
        train: Tensor,
        workers: Workers,
        count: int,
        sigma_max: tuple[float, ...] = (80.0,),
        held_out: Tensor | None = None,
    ):
        if count < workers.count:
            raise UserError(f"{count} samples are too few for {workers.count} processes")
        self.features, self.workers, self.count, self.sigma_max = features, workers, count, sigma_max
        self.shape = tuple(train.shape[1:])
        own = train[workers.rank :: workers.count]
        self.reference = {name: Gaussian.fit(self._all(own, function)) for name, function in features.items()}
        self.copying = held_out is not None
        if held_out is not None:
            self.index = Index.of(as_float(train))
            distances = self.index.nearest(as_float(held_out), 1)[0][:, 0]
            self.threshold = float(distances.quantile(0.01))

    def _all(self, images: Tensor, features: Features) -> Tensor:
        """Features of the images of all processes."""
        with torch.no_grad():
            return gather_rows(torch.cat([features(as_float(x)) for x in images.split(1000)]))

    def distances(self, images: Tensor) -> dict[str, float]:
        """FD of all processes' images in each feature network; every process gives its own."""
        return {
            name: frechet_distance(Gaussian.fit(self._all(images, function)), self.reference[name])
            for name, function in self.features.items()
        }

    def distance(self, images: Tensor) -> float:
        """FD of all processes' images in the first feature network."""
        return self.distances(images)[next(iter(self.features))]

    def copies(self, images: Tensor) -> float:
        """Share of copies among all processes' images."""
        nearest = self.index.nearest(images, 1)[0][:, 0]
        return float((gather_rows(nearest) < self.threshold).double().mean())

    def __call__(self, denoiser: Denoiser) -> dict[str, float]:
        device, (rank, every) = self.workers.device, (self.workers.rank, self.workers.count)
        batch = min(1000, self.count // every)
        found: dict[str, float] = {}
        for level in self.sigma_max:
            images = draw_samples(
                denoiser, self.shape, self.count, device, sigma_max=level, batch=batch, first=rank, every=every
            )
            for number, (name, distance) in enumerate(self.distances(images).items()):
                found[f"fd{level:g} {name}" if number else f"fd{level:g}"] = distance
            if self.copying and level == self.sigma_max[0]:
                found["copies"] = self.copies(images)
        return found
