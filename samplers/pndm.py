"""PNDM: pseudo numerical methods on the manifold of DDIM's transfer; and iPNDM, which has no warm-up."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor

from samplers.base import Denoiser, ReverseSampler
from samplers.noise import ShardNoise, vp_sigma, vp_time
from samplers.registry import register

ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
"""Weights of the newest ε first, for 1 to 4 of them at equal spacing."""


def transfer(x: Tensor, eps: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """The transfer part φ of the paper in σ: a DDIM step with a given ε."""
    return x + (sigma_next - sigma) * eps


@dataclass(frozen=True)
class PNDM(ReverseSampler):
    """Pseudo linear multistep sampling (Liu, Ren, Lin, Zhao 2022): Adams–Bashforth weights on ε, DDIM's transfer.

    The weights are those of equal steps in time, as published, on any grid; the order is 2, for
    F-PNDM as for S-PNDM (the paper proves it): φ turns an exact mean of ε into an x that is exact to second order.

    Class attributes:
        history: how many ε are combined.
        warm_up: steps of `start` before the multistep formula takes over, and what each costs.
    """

    paper = "Liu, Ren, Lin, Zhao 2022, arXiv 2202.09778"
    family = "plain"
    preset = {"grid": "ddpm-uniform"}
    history: ClassVar[int] = 4
    warm_up: ClassVar[tuple[int, int]] = (1, 2)

    @property
    def convergence(self) -> int | None:
        return 2

    def cost(self, intervals: int) -> int:
        steps, each = self.warm_up
        return intervals + (each - 1) * min(intervals, steps)

    def start(self, denoiser: Denoiser, x: Tensor, eps: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """The ε of a warm-up step, given that at its beginning: pseudo improved Euler."""
        return (eps + self.eps(denoiser, transfer(x, eps, sigma, sigma_next), sigma_next)) / 2

    @staticmethod
    def eps(denoiser: Denoiser, x: Tensor, sigma: Tensor) -> Tensor:
        """The noise prediction."""
        return (x - denoiser(x, sigma)) / sigma

    def integrate(self, denoiser: Denoiser, x: Tensor, sigmas: Tensor, noise: ShardNoise) -> Tensor:
        past: list[Tensor] = []
        for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
            past = [self.eps(denoiser, x, sigma), *past[: self.history - 1]]
            if i < self.warm_up[0] and sigma_next > 0:
                eps = self.start(denoiser, x, past[0], sigma, sigma_next)
            else:
                weights = ADAMS_BASHFORTH[len(past) - 1]
                eps = sum((w * e for w, e in zip(weights[1:], past[1:], strict=True)), weights[0] * past[0])
            x = transfer(x, eps, sigma, sigma_next)
        return x


@register("s-pndm")
class SPNDM(PNDM):
    """Second-order PNDM: improved Euler once, then two ε; N intervals cost N + 1."""

    title = "S-PNDM"
    summary = "pseudo linear multistep of 2 noise predictions"
    least = 4
    history = 2


@register("plms")
class PLMS(PNDM):
    """PNDM without Runge–Kutta: improved Euler once, then 2, 3 and 4 ε; N intervals cost N + 1.

    The variant of latent diffusion (Rombach et al. 2022; `skip_prk_steps` of diffusers).
    """

    title = "PLMS"
    summary = "pseudo linear multistep of 4 noise predictions without Runge–Kutta warm-up"
    least = 4


@register("ipndm")
class IPNDM(PNDM):
    """iPNDM (Zhang, Chen 2023, and their code): as many ε as there are, 4 at most; N intervals cost N."""

    title = "iPNDM"
    summary = "pseudo linear multistep of up to 4 noise predictions, without warm-up"
    paper = "Zhang, Chen 2023, arXiv 2204.13902"
    least = 3
    warm_up = (0, 1)


@register("f-pndm")
class FPNDM(PNDM):
    """Fourth-order PNDM: pseudo Runge–Kutta three times, then four ε; N ≥ 3 intervals cost N + 9.

    Below 14 evaluations it takes Runge–Kutta steps alone.
    """

    title = "F-PNDM"
    summary = "pseudo linear multistep of 4 noise predictions after 3 Runge–Kutta steps"
    least = 14
    warm_up = (3, 4)

    def start(self, denoiser: Denoiser, x: Tensor, eps: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """Pseudo Runge–Kutta; its midpoint is that of the VP time."""
        middle = vp_sigma((vp_time(sigma) + vp_time(sigma_next)) / 2)
        e2 = self.eps(denoiser, transfer(x, eps, sigma, middle), middle)
        e3 = self.eps(denoiser, transfer(x, e2, sigma, middle), middle)
        e4 = self.eps(denoiser, transfer(x, e3, sigma, sigma_next), sigma_next)
        return (eps + 2 * e2 + 2 * e3 + e4) / 6
