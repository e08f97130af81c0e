"""Exponential integrators in λ = −log σ: the arithmetic that DPM-Solver, DPM-Solver++ and UniPC share.

The probability flow has two exact forms, in which only the network's output m is left to be approximated:

    noise prediction:  dx/dλ = −σ m,      m = ε = (x − D)/σ       (Lu et al. 2022a, eq. 3.4)
    data prediction:   d(x/σ)/dλ = m/σ,   m = D                   (Lu et al. 2022b, eq. 8)

Where m is the polynomial m + d1 τ + d2 τ²/2 in τ = (λ − λ(σ))/h, both integrate to

    x_next = keep x − gain (φ1 m + φ2 d1 + φ3 d2),   φ1 = e^h − 1, φ2 = φ1/h − 1, φ3 = φ2/h − 1/2

with h the length of the step in λ, counted negative for data prediction.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from samplers.base import Denoiser

Number = Any
"""A coefficient: a float, or a tensor [] where gradients are to flow through the levels that it comes from."""


def number(value: Tensor) -> Number:
    """A tensor [] as a coefficient."""
    return value if value.requires_grad else float(value)


def expm1(h: Number) -> Number:
    """e^h − 1."""
    return h.expm1() if isinstance(h, Tensor) else math.expm1(h)


def log_snr(sigmas: Tensor) -> list[Number]:
    """λ = −log σ of every level."""
    return [number(value) for value in -torch.log(sigmas)]


@dataclass(frozen=True)
class Exponential:
    """The exponential integrator of one of the two forms.

    Attributes:
        data: data prediction (DPM-Solver++) instead of noise prediction (DPM-Solver).
    """

    data: bool

    def model(self, denoiser: Denoiser, x: Tensor, sigma: Tensor) -> Tensor:
        """The network's output m at x [B, ...]: D or ε."""
        x0 = denoiser(x, sigma)
        return x0 if self.data else (x - x0) / sigma

    def linear(self, sigma: Tensor, sigma_next: Tensor) -> tuple[Number, Number, Number]:
        """keep, gain and the signed h of a step to σ_next > 0."""
        now, then = number(sigma), number(sigma_next)
        ratio = now / then
        h = ratio.log() if isinstance(ratio, Tensor) else math.log(ratio)
        return (then / now, 1.0, -h) if self.data else (1.0, then, h)

    def step(
        self,
        x: Tensor,
        sigma: Tensor,
        sigma_next: Tensor,
        m: Tensor,
        d1: Tensor | None = None,
        d2: Tensor | None = None,
    ) -> Tensor:
        """x at σ_next from x at σ; to σ_next = 0, infinitely far in λ, m alone counts, which is to denoise."""
        if sigma_next == 0:
            return m if self.data else x - sigma * m
        keep, gain, h = self.linear(sigma, sigma_next)
        phi1, phi2, phi3 = phi(h, 3)
        x = keep * x - (gain * phi1) * m
        if d1 is not None:
            x = x - (gain * phi2) * d1
        if d2 is not None:
            x = x - (gain * phi3) * d2
        return x


def phi(h: Number, count: int) -> list[Number]:
    """φ1 to φ_count at h: φ1 = e^h − 1, φ_{k+1} = φ_k/h − 1/k!."""
    found = [expm1(h)]
    for k in range(1, count):
        found.append(found[-1] / h - 1 / math.factorial(k))
    return found


NOISE, DATA = Exponential(data=False), Exponential(data=True)


def between(sigma: Tensor, sigma_next: Tensor, r: float) -> Tensor:
    """The level a fraction r of the way from σ to σ_next in λ."""
    return sigma * (sigma_next / sigma) ** r


def falling_orders(order: int, steps: int, falls: bool) -> list[int]:
    """Order of each multistep step: it grows by one a step from 1, and where it `falls`, shrinks to 1 at the last."""
    return [min(order, i + 1, steps - i if falls else order) for i in range(steps)]
