"""CIFAR-10, with a denoiser and a classifier of our own."""

from dataclasses import dataclass
from typing import ClassVar

from benchmark.problems.images import ImageProblem
from benchmark.problems.registry import register


@register
@dataclass(frozen=True)
class Cifar10(ImageProblem):
    """CIFAR-10 (Krizhevsky 2009): 50,000 images to train on, 10,000 held out; modes are classes, by our classifier."""

    name: ClassVar[str] = "cifar10"
    summary: ClassVar[str] = "CIFAR-10, 32x32, a U-Net denoiser"
    metrics: ClassVar[tuple[str, ...]] = ("fd", "modes", "mode_mixture", "novelty")
    side: ClassVar[int] = 32
    in_random_order: ClassVar[bool] = True
    published_labels: ClassVar[str] = "f5cfe00b0f00968c0cc5ff3b1d2de51b10e33efa277c2986f4e0fa63e58c9f4f"
    extractor: str = "classifier"
