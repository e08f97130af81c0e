"""Heun's method of EDM, with optional churn."""

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from samplers.base import Denoiser, ReverseSampler
from samplers.errors import UserError
from samplers.noise import ShardNoise
from samplers.registry import register


@register("heun")
@dataclass(frozen=True)
class Heun(ReverseSampler):
    """The sampler of EDM (Karras, Aittala, Aila, Laine 2022, algorithm 2; without churn algorithm 1).

    N intervals cost 2N evaluations, and the step to σ = 0 one.

    Attributes:
        s_churn: how much noise is put back before each step, in all; 0 is deterministic. The step to 0 has its share as
            in EDM's code, with `end="denoise"` too, which then is the same as `zero`.
        s_tmin, s_tmax: the noise levels between which that happens; no upper limit where None.
        s_noise: standard deviation of that noise.
    """

    title = "Heun"
    family = "plain"
    summary = "second-order Runge–Kutta; s_churn > 0 adds noise"
    paper = "Karras, Aittala, Aila, Laine 2022, arXiv 2206.00364"
    preset = {"end": "zero"}

    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float | None = None
    s_noise: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("s_churn", "s_tmin", "s_noise"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise UserError(f"{name} must be at least 0 and finite, got {value:g}")
        if self.s_tmax is not None and not self.s_tmin <= self.s_tmax:
            raise UserError(f"s_tmin must not exceed s_tmax, got {self.s_tmin:g} and {self.s_tmax:g}")

    @property
    def lands(self) -> bool:
        return self.end == "zero" or (self.end == "denoise" and self.s_churn > 0)

    @property
    def revision(self) -> int:
        """One more with churn and `denoise`, where the step to 0 had no share of the churn before."""
        return self.version + (self.end == "denoise" and self.s_churn > 0)

    @property
    def convergence(self) -> int | None:
        return None if self.s_churn else 2

    def cost(self, intervals: int) -> int:
        return 2 * intervals

    def integrate(self, denoiser: Denoiser, x: Tensor, sigmas: Tensor, noise: ShardNoise) -> Tensor:
        churn = min(self.s_churn / (len(sigmas) - 1), math.sqrt(2) - 1)
        s_tmax = math.inf if self.s_tmax is None else self.s_tmax
        for t_cur, t_next in pairwise(sigmas):
            gamma = churn if self.s_tmin <= t_cur <= s_tmax else 0.0
            t_hat = t_cur + gamma * t_cur
            if gamma > 0:
                x = x + (t_hat**2 - t_cur**2).sqrt() * self.s_noise * noise.step()
            d_cur = (x - denoiser(x, t_hat)) / t_hat
            x_next = x + (t_next - t_hat) * d_cur
            if t_next > 0:
                d_prime = (x_next - denoiser(x_next, t_next)) / t_next
                x_next = x + (t_next - t_hat) * (d_cur + d_prime) / 2
            x = x_next
        return x
