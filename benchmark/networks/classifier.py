"""A small residual image classifier: class posteriors and penultimate features for the metrics."""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ClassifierConfig:
    """Architecture of :class:`Classifier`.

    Attributes:
        image_channels: channels of the image.
        stem: width of the first convolution.
        channels: width of each stage; a stage halves the resolution, the last one's width is that of the features.
        classes: number of classes.
    """

    image_channels: int = 3
    stem: int = 80
    channels: tuple[int, ...] = (160, 256)
    classes: int = 10


def _conv(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU())


class Stage(nn.Module):
    """Widen, halve the resolution, then one residual block of two convolutions."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.widen = _conv(c_in, c_out)
        self.residual = nn.Sequential(_conv(c_out, c_out), _conv(c_out, c_out))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.widen(x), 2)
        return x + self.residual(x)


class Classifier(nn.Module):
    """Images ``[B, C, H, W]`` in [-1, 1] -> logits ``[B, classes]``; :meth:`features`: the last layer's input."""

    def __init__(self, config: ClassifierConfig):
        super().__init__()
        self.config = config
        widths = (config.stem, *config.channels)
        self.stem = _conv(config.image_channels, config.stem)
        self.stages = nn.Sequential(*(Stage(a, b) for a, b in pairwise(widths)))
        self.head = nn.Linear(widths[-1], config.classes)

    def features(self, x: Tensor) -> Tensor:
        """Penultimate features ``[B, channels[-1]]``."""
        return self.stages(self.stem(x.float().contiguous(memory_format=torch.channels_last))).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

    def posterior(self, x: Tensor) -> Tensor:
        """Class probabilities ``[B, classes]``."""
        return self(x).softmax(1)
