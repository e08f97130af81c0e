"""Problems whose denoiser is exact and whose students can learn at every noise level."""

from dataclasses import dataclass, field

import torch
from torch import nn

from tests.oracles import F64, Gaussian, mixture_denoiser


class Power(nn.Module):
    """D(x, σ) = m + (s²/(s² + σ²))^p (x − m), p of every coordinate linear between knots in log σ.

    p = 1 is the denoiser of Gaussian data, p = 1/2 its flow to σ = 0.
    """

    def __init__(self, problem, knots=12):
        super().__init__()
        self.problem, self.knots = problem, torch.linspace(-9.0, 5.0, knots, dtype=F64)
        self.p = nn.Parameter(torch.ones(knots, len(problem.mean), dtype=F64))

    def forward(self, x, sigma):
        place = (sigma.reshape(-1).log().clamp(-8.99, 4.99) + 9.0) / 14.0 * (len(self.knots) - 1)
        low = place.floor().long()
        part = (place - low)[:, None]
        p = (1 - part) * self.p[low] + part * self.p[low + 1]
        return self.problem.m + self.problem.shrink(sigma.reshape(-1, 1)) ** p * (x - self.problem.m)


class Corrected(nn.Module):
    """The exact denoiser of a mixture, and a small network that vanishes at σ = 0 and is 0 before training."""

    def __init__(self, width=64):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Linear(4, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 3)
        ).double()
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, x, sigma):
        sigma = sigma.to(x.dtype).reshape(-1, 1).expand(len(x), 1)
        scale = (1 + sigma**2).sqrt()
        correction = self.layers(torch.cat([x / scale, sigma.clamp(min=1e-9).log() / 4], 1))
        return mixture_denoiser(x, sigma) + sigma / scale * correction


@dataclass
class Remembering(Gaussian):
    """A Gaussian problem that counts its teacher's evaluations and remembers what was learned."""

    trainable: bool = True
    sigma_max: float = 80.0
    memory: dict = field(default_factory=dict)
    asked: int = 0

    def examples(self, split, count):
        return self.m + self.s * torch.randn(count, 3, dtype=F64, generator=torch.Generator().manual_seed(0))

    def student(self):
        return Power(self)

    def denoiser(self, x, sigma):
        self.asked += len(x)
        return super().denoiser(x, sigma)

    def remember(self, key, make):
        if key not in self.memory:
            self.memory[key] = make()
        return self.memory[key]


@dataclass
class Mixed(Remembering):
    """Four Gaussians in three dimensions."""

    sigma_max: float = 10.0

    def examples(self, split, count):
        from tests.oracles import MODES

        generator = torch.Generator().manual_seed(0)
        modes = MODES[torch.randint(4, (count,), generator=generator)]
        return modes + 0.3 * torch.randn(count, 3, dtype=F64, generator=generator)

    def student(self):
        return Corrected()

    def denoiser(self, x, sigma):
        self.asked += len(x)
        sigma = torch.as_tensor(sigma, dtype=x.dtype)
        return mixture_denoiser(x, sigma.reshape(-1, 1) if sigma.ndim else sigma)
