"""What a student learns from: images, mirrored, with noise of drawn levels."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Objective(ABC):
    """What a student is to make small: errors of it at random levels and noise, which are drawn apart.

    The draws of a batch can so be shared out to processes, and what follows from them be recorded as a graph.
    """

    @abstractmethod
    def draw(self, x0: Tensor, generator: torch.Generator, seen: int) -> tuple[Tensor, ...]:
        """Draw what the errors on x0 [B, ...] depend on, after `seen` images of the training; [B, ...] each."""

    @abstractmethod
    def errors(self, student: nn.Module, *drawn: Tensor) -> Tensor:
        """The errors of the student on what was drawn, [B] or [B, ...]; their mean is the loss."""

    def __call__(self, student: nn.Module, x0: Tensor, generator: torch.Generator, seen: int = 0) -> Tensor:
        return self.errors(student, *self.draw(x0, generator, seen)).mean()


def mirrored(x0: Tensor, generator: torch.Generator) -> Tensor:
    """Images x0 [B, C, H, W], each mirrored from left to right with probability 1/2."""
    flip = torch.rand(len(x0), generator=generator, device=x0.device) < 0.5
    return torch.where(flip.reshape(-1, *[1] * (x0.ndim - 1)), x0.flip(-1), x0)


def noised(x0: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """x0 [B, ...] + σ n; sigma [B, 1, ...]."""
    return x0 + sigma * torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)


def draw_levels(levels: Tensor, x0: Tensor, generator: torch.Generator) -> Tensor:
    """A row of `levels` [K, L] for each of x0 [B, ...], at random: [L, B, 1, ...], in the type of x0."""
    index = torch.randint(len(levels), (len(x0),), generator=generator, device=x0.device)
    return levels[index].to(x0.dtype).T.reshape(-1, len(x0), *[1] * (x0.ndim - 1))
