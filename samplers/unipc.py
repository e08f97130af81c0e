"""UniPC: a multistep predictor and a corrector that costs no evaluation of its own."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from samplers.base import Denoiser, ReverseSampler
from samplers.exponential import DATA, NOISE, Number, expm1, falling_orders, log_snr, phi
from samplers.noise import ShardNoise
from samplers.registry import register


@register("unipc")
@dataclass(frozen=True)
class UniPC(ReverseSampler):
    """UniPC-p (Zhao, Bai, Rao, Zhou, Lu 2023): UniP-p, then UniC-p with the next step's output.

    The corrector raises the order to p + 1. The last step is not corrected, since that would cost an evaluation; where
    it falls to first order, that of the whole is 2.

    Attributes:
        order: p, from 1 to 3.
        variant: B(h) = h (`bh1`; the authors' choice for unguided sampling in few steps) or e^h − 1 (`bh2`).
        prediction: `data` or `noise`.
        lower_order_final: the order falls to 1 over the last steps, as in the official code at any number of steps.
    """

    title = "UniPC"
    family = "plain"
    summary = "multistep predictor with a free corrector"
    paper = "Zhao, Bai, Rao, Zhou, Lu 2023, arXiv 2302.04867"
    preset = {"grid": "log-snr", "variant": "bh1"}

    order: Literal[1, 2, 3] = 3
    variant: Literal["bh1", "bh2"] = "bh2"
    prediction: Literal["data", "noise"] = "data"
    lower_order_final: bool = True

    @property
    def convergence(self) -> int | None:
        return 2 if self.lower_order_final else self.order + 1

    def cost(self, intervals: int) -> int:
        return intervals

    def integrate(self, denoiser: Denoiser, x: Tensor, sigmas: Tensor, noise: ShardNoise) -> Tensor:
        form = DATA if self.prediction == "data" else NOISE
        orders = falling_orders(self.order, len(sigmas) - 1, self.lower_order_final)
        lambdas = log_snr(sigmas)
        past = [form.model(denoiser, x, sigmas[0])]  # newest first
        for i, order in enumerate(orders):
            m = past[0]
            x_ = form.step(x, sigmas[i], sigmas[i + 1], m)
            if sigmas[i + 1] == 0:
                return x_
            _, gain, h = form.linear(sigmas[i], sigmas[i + 1])
            r = [(lambdas[i - k] - lambdas[i]) / (lambdas[i + 1] - lambdas[i]) for k in range(1, order)]
            slopes = [(past[k] - m) / r[k - 1] for k in range(1, order)]
            x = x_ - gain * self.residual(h, r, slopes)
            if i + 1 < len(orders):
                m_next = form.model(denoiser, x, sigmas[i + 1])
                x = x_ - gain * self.residual(h, [*r, 1.0], [*slopes, m_next - m])
                past = [m_next, *past[: self.order - 1]]
        return x

    def residual(self, h: Number, r: list[Number], slopes: list[Tensor]) -> Tensor | float:
        """B(h) Σ ρ_k D_k/r_k with the ρ that meet the order conditions; for one point ρ = 1/2, as in the official code.

        B cancels where ρ is solved for, so that the variants differ in updates with one point alone.
        """
        if not r:
            return 0.0
        if len(r) == 1:
            return (h if self.variant == "bh1" else expm1(h)) / 2 * slopes[0]
        weights = solve_powers(r, [math.factorial(k) * f for k, f in enumerate(phi(h, len(r) + 1)) if k > 0])
        return sum((w * slope for w, slope in zip(weights[1:], slopes[1:], strict=True)), weights[0] * slopes[0])


def solve_powers(r: list[Number], moments: list[Number]) -> list[Number]:
    """The weights w with Σ_k w_k r_k^j = moments[j] for every power j from 0 on."""
    if any(isinstance(value, Tensor) for value in (*r, *moments)):
        points = torch.stack([torch.as_tensor(value, dtype=torch.float64) for value in r])
        powers = torch.stack([points**j for j in range(len(r))])
        return list(torch.linalg.solve(powers, torch.stack(moments)).unbind())
    return np.linalg.solve(np.vander(r, increasing=True).T, moments).tolist()
