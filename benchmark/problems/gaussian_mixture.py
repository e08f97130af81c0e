"""What Gaussian mixtures have in common: everything about them is known in closed form."""

import torch
from torch import Tensor

from benchmark.problems.base import Problem, Split
from samplers.noise import stream

BLOCK = 1000  # examples are drawn so many at a time, so that asking for more only adds to them


class GaussianMixture(Problem):
    """Isotropic mixture Σ_k w_k N(m_k, width² I) with its exact denoiser, sampling and posterior over modes.

    A subclass gives `means` [K, d], `mode_weights` [K] and the option `width`.
    """

    dtype = torch.float64
    shard = 500
    width: float

    @property
    def means(self) -> Tensor:
        """Centres of the modes, float64 [K, d]."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.means.shape[1],)

    def _log_joint(self, x: Tensor, variance: Tensor | float) -> Tensor:
        """log w_k − ‖x − m_k‖²/2v up to a constant in k: [B, K]."""
        square = torch.cdist(x, self.means.to(x), compute_mode="donot_use_mm_for_euclid_dist").square()
        return self.mode_weights.to(x).log() - square / (2 * variance)

    def denoiser(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The exact E[x0 | x]: the mean over modes k of m_k + width²/(width² + σ²) (x − m_k), by their posterior."""
        variance = self.width**2 + torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, 1) ** 2
        centre = self._log_joint(x, variance).softmax(1) @ self.means.to(x)
        return centre + self.width**2 / variance * (x - centre)

    def posterior(self, x: Tensor) -> Tensor:
        return self._log_joint(x, self.width**2).softmax(1)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Exact independent samples, float64 [count, d]."""
        mode = torch.multinomial(self.mode_weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.shape[0], dtype=torch.float64, generator=generator)
        return self.means[mode] + self.width * noise

    def examples(self, split: Split, count: int) -> Tensor:
        parts = ("mixture", split, "draw", self.draw) if self.draw else ("mixture", split)
        blocks = [self.sample(BLOCK, stream(*parts, block)) for block in range(-(-count // BLOCK))]
        return torch.cat(blocks)[:count].to(self.device)
