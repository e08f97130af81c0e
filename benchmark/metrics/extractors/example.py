"""An example to copy: one file adds a feature network, for runs, for `benchmark.evaluate` and for training.

    python -m benchmark.evaluate IMAGES --problem cifar10 --extractor example
    python -m benchmark.run --sampler ddim --problem cifar10 --set problem.extractor=example

This one is a small convolutional network whose weights were never trained: it serves to compare libraries.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.metrics.extractors.base import Activations, Extractor, extractor, state_hash


class Example(nn.Module):
    """Images [B, 3, H, W] in [−1, 1] -> 48 features, 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        shapes = [torch.Size(shape) for shape in ((16, 3, 3, 3), (48, 16, 3, 3), (10, 48))]
        draws = [torch.randn(shape, generator=generator) * (2 / shape[1:].numel()) ** 0.5 for shape in shapes]
        self.weights = nn.ParameterList(draws)

    def forward(self, x: Tensor) -> Activations:
        for weight in self.weights[:2]:
            x = F.avg_pool2d(F.relu(F.conv2d(x, weight)), 2)
        features = x.mean((2, 3))
        return features, features @ self.weights[2].T


@extractor("example", "a small network with random weights: to compare libraries, and to copy")
def load(name: str, weights: Path | None, device: torch.device) -> Extractor:
    """Its weights are drawn, not read."""
    network = Example().requires_grad_(False).to(device)
    return Extractor(name, state_hash(network), "none", 48, network, device)
