"""Denoisers, and what may stand around one: a counter, a clamp, an answer to the first evaluation."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""denoiser(x, sigma) -> x0_hat estimates E[x0 | x0 + σn = x]; x [B, ...], sigma [] or [B]."""


class BudgetExceeded(RuntimeError):
    """A sampler asked for more network evaluations than it was granted: a bug of the sampler."""


class CountingDenoiser:
    """Counts network evaluations per sample (`nfe`), refuses those over the budget, and splits large batches.

    Samplers work on a whole shard at once; only the network sees batches, so samples do not depend on `batch`.
    """

    def __init__(self, denoiser: Denoiser, budget: float = math.inf, batch: int | None = None) -> None:
        self.denoiser, self.budget, self.batch, self.nfe = denoiser, budget, batch, 0

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        if self.nfe + 1 > self.budget:
            raise BudgetExceeded(f"evaluation {self.nfe + 1} of a budget of {self.budget}")
        self.nfe += 1
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
        if self.batch is None or len(x) <= self.batch:
            return self.denoiser(x, sigma)
        parts = x.split(self.batch)
        sigmas = sigma.split(self.batch) if sigma.ndim else [sigma] * len(parts)
        return torch.cat([self.denoiser(xs, s) for xs, s in zip(parts, sigmas, strict=True)])


class Clamped:
    """Keeps estimates of x0 within [−1, 1], the range of images; noise predictions follow from what is kept.

    DDPM's code does so at every step, as do guided diffusion (`clip_denoised`) and progressive distillation's sampling
    (`clip_x`).
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.denoiser(x, sigma).clamp(-1, 1)


class FreeFirstStep:
    """Answers the first evaluation without the network: ε = x/√(1+σ²), which is the state of VP itself.

    The analytical first step (AFS) of Dockhorn, Vahdat, Kreis (2022, arXiv 2210.05475): at σ_max hardly anything but
    noise is left in x. It is one evaluation less, which a counter below this does not see.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.first = denoiser, True

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        if not self.first:
            return self.denoiser(x, sigma)
        self.first = False
        root = (1 + torch.as_tensor(sigma, dtype=torch.float64) ** 2).sqrt()
        return x / (root * (root + sigma))  # x − σε, without the difference


def prepared(denoiser: Denoiser, clamp: bool, afs: bool) -> Denoiser:
    """The denoiser as a solver with these options sees it."""
    if afs:
        denoiser = FreeFirstStep(denoiser)
    return Clamped(denoiser) if clamp else denoiser
