"""DEIS: Adams–Bashforth with the exponential integrator's exact weights."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from samplers.base import Denoiser, ReverseSampler
from samplers.exponential import falling_orders
from samplers.noise import ShardNoise, vp_time
from samplers.options import check_at_least
from samplers.registry import register

Variable = Literal["t", "rho", "log-rho"]
VARIABLES: dict[Variable, Callable[[Tensor], Tensor]] = {"t": vp_time, "rho": lambda sigma: sigma, "log-rho": torch.log}
"""In what ε is taken to be a polynomial: the VP time (tAB), ρ = σ (ρAB), log ρ (diffusers' DEIS)."""


@cache
def gauss_legendre(count: int = 64) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [−1, 1], float64 [count] each."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return torch.from_numpy(nodes), torch.from_numpy(weights)


@register("deis")
@dataclass(frozen=True)
class DEIS(ReverseSampler):
    """Diffusion exponential integrator sampler, tAB-DEIS (Zhang, Chen 2023), in σ.

    x_next = x + Σ_j C_j ε_j with C_j = ∫ ℓ_j dσ from σ to σ_next, ℓ_j the Lagrange polynomials through the last
    `order` + 1 levels in the chosen variable. The first steps have fewer levels to use.

    Attributes:
        order: degree r of the polynomial, from 0 (DDIM) to 3 (tAB3); the method is of order r + 1.
        variable: `t`, `rho` or `log-rho`, see `VARIABLES`.
        lower_order_final: the degree falls to 0 over the last steps on grids of fewer intervals than this: 0 (never)
            as published, 15 in diffusers.
    """

    title = "DEIS"
    family = "plain"
    summary = "multistep with exact weights of the extrapolated noise prediction"
    paper = "Zhang, Chen 2023, arXiv 2204.13902"
    preset = {"grid": "ddpm-quadratic"}

    order: Literal[0, 1, 2, 3] = 3
    variable: Variable = "t"
    lower_order_final: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 0, "lower_order_final")

    @property
    def convergence(self) -> int | None:
        return self.order + 1

    def cost(self, intervals: int) -> int:
        return intervals

    def integrate(self, denoiser: Denoiser, x: Tensor, sigmas: Tensor, noise: ShardNoise) -> Tensor:
        steps = len(sigmas) - 1
        orders = falling_orders(self.order + 1, steps, steps < self.lower_order_final)
        past: list[Tensor] = []  # newest first
        for i, points in enumerate(orders):
            x0 = denoiser(x, sigmas[i])
            if sigmas[i + 1] == 0:
                return x0
            past = [(x - x0) / sigmas[i], *past[: self.order]]
            weights = self.weights(sigmas[i + 1 - points : i + 1].flip(0), sigmas[i + 1])
            for weight, eps in zip(weights, past[:points], strict=True):
                x = x + weight * eps
        return x

    def weights(self, levels: Tensor, sigma_next: Tensor) -> Tensor:
        """C_j of ε at `levels` [k], newest first, for the step from levels[0] to σ_next; [k].

        By quadrature in log σ, where all three variables are smooth: exact to rounding.
        """
        nodes, weights = gauss_legendre()
        half = torch.log(sigma_next / levels[0]) / 2
        sigma = levels[0] * torch.exp(half * (nodes + 1))
        of = VARIABLES[self.variable]
        u, knots = of(sigma), of(levels)
        own = torch.eye(len(levels), dtype=torch.bool)
        apart = (knots[:, None] - knots).masked_fill(own, 1.0)  # a quotient 0/0 would spoil gradients
        factors = (u[:, None, None] - knots) / apart  # [node, j, k]; ℓ_j is their product over k ≠ j
        lagrange = factors.masked_fill(own, 1.0).prod(2)
        return (weights * sigma) @ lagrange * half
