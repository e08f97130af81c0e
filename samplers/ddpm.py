"""DDPM: ancestral sampling."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor

from samplers.base import Denoiser, ReverseSampler
from samplers.noise import ShardNoise
from samplers.registry import register


@register("ddpm")
@dataclass(frozen=True)
class DDPM(ReverseSampler):
    """Denoising diffusion probabilistic models (Ho, Jain, Abbeel 2020, algorithm 2), in σ.

    Each step draws from q(x_next | x, x0 = D(x; σ)), whose mean is x0 + (σ_next/σ)² (x − x0) (eq. 7, divided by α).

    Attributes:
        variance: of a step: `small`, that of the posterior, β̃ (eq. 7), exact for data at one point; or `large`, β of
            the VP chain, exact for data N(0, I) (sec. 3.2). The paper finds them alike at 1000 steps.
    """

    title = "DDPM"
    family = "plain"
    summary = "ancestral sampling"
    paper = "Ho, Jain, Abbeel 2020, arXiv 2006.11239"
    preset = {"grid": "ddpm-uniform", "variance": "large", "clamp": True}  # of 1000 steps
    fast = False

    variance: Literal["small", "large"] = "small"

    def cost(self, intervals: int) -> int:
        return intervals

    def step_variance(self, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """Variance of the step's fresh noise; [] like the levels."""
        decrease = sigma**2 - sigma_next**2
        if self.variance == "small":
            return decrease * (sigma_next / sigma) ** 2
        return decrease * (1 + sigma_next**2) / (1 + sigma**2)

    def integrate(self, denoiser: Denoiser, x: Tensor, sigmas: Tensor, noise: ShardNoise) -> Tensor:
        for sigma, sigma_next in pairwise(sigmas):
            x0 = denoiser(x, sigma)
            x = x0 + (sigma_next / sigma) ** 2 * (x - x0)
            if sigma_next > 0:  # the last step to clean samples adds no noise (algorithm 2, line 3)
                x = x + self.step_variance(sigma, sigma_next).sqrt() * noise.step()
        return x
