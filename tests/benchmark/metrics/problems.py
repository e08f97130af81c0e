"""A problem small enough to reason about: points of two Gaussians, exact posterior, features = the points."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class TwoModes:
    """Equal modes at (±2, 0, ..., 0) of standard deviation 0.3 in `dim` dimensions; finite train and test sets."""

    dim: int = 3
    train: int = 600
    test: int = 400
    neighbours: int = 4000
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    feature_name: str = "the points themselves"
    fid: bool = False
    reference_count: int | None = None
    mode_weights: Tensor = field(default_factory=lambda: torch.tensor([0.5, 0.5]))

    def draw(self, count: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        x = 0.3 * torch.randn(count, self.dim, generator=generator)
        x[:, 0] += 2 * (torch.randint(2, (count,), generator=generator) * 2.0 - 1)
        return x

    def examples(self, split: str, count: int) -> Tensor:
        whole = {"train": self.train, "test": self.test, "reference": 5000}[split]
        return self.draw(whole, {"train": 1, "test": 2, "reference": 3}[split])[:count]

    def remember(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        return make()

    def posterior(self, x: Tensor) -> Tensor:
        return torch.stack([-x[:, 0], x[:, 0]], 1).mul(2 / 0.3**2).softmax(1)

    def features(self, x: Tensor) -> Tensor:
        return x
