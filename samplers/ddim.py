"""DDIM: the first-order exponential integrator of the probability flow, with optional noise."""

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from samplers.base import Denoiser, ReverseSampler
from samplers.errors import UserError
from samplers.noise import ShardNoise
from samplers.registry import register


@register("ddim")
@dataclass(frozen=True)
class DDIM(ReverseSampler):
    """Denoising diffusion implicit models (Song, Meng, Ermon 2021, eq. 12), in σ.

    With η = 0 this is Euler's method on dx/dσ = (x − D)/σ, equivalently DPM-Solver-1. With η > 0, the part of the new
    noise level that is fresh is η times that of DDPM's posterior (eq. 16 of the paper, divided by α).

    Attributes:
        eta: 0 is deterministic, 1 is DDPM ancestral sampling.
    """

    title = "DDIM"
    family = "plain"
    summary = "deterministic first-order steps; eta > 0 adds noise"
    paper = "Song, Meng, Ermon 2021, arXiv 2010.02502"
    preset = {"grid": "ddpm-quadratic"}  # appendix D.2

    eta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eta <= 1:
            raise UserError(f"eta must lie in [0, 1], got {self.eta:g}")

    @property
    def convergence(self) -> int | None:
        return None if self.eta else 1

    def cost(self, intervals: int) -> int:
        return intervals

    def integrate(self, denoiser: Denoiser, x: Tensor, sigmas: Tensor, noise: ShardNoise) -> Tensor:
        for sigma, sigma_next in pairwise(sigmas):
            x0 = denoiser(x, sigma)
            eps = (x - x0) / sigma
            fresh = self.eta * sigma_next * (1 - (sigma_next / sigma) ** 2).sqrt()
            x = x0 + (sigma_next**2 - fresh**2).sqrt() * eps
            if fresh > 0:
                x = x + fresh * noise.step()
        return x
