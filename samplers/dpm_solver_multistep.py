"""DPM-Solver and DPM-Solver++, multistep: exponential integrators in λ with one evaluation a step."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from samplers.base import Denoiser
from samplers.dpm_solver import PLUS_PLUS, DPMSolver
from samplers.exponential import DATA, Number, falling_orders, log_snr
from samplers.noise import ShardNoise
from samplers.options import check_at_least
from samplers.registry import register

OFFICIAL = f"{PLUS_PLUS}, and their code"  # the papers have only 2M with data prediction


@dataclass(frozen=True)
class Multistep(DPMSolver):
    """One evaluation a step; the outputs of `order` - 1 earlier steps give the derivatives. The order grows from 1.

    Attributes:
        lower_order_final: the order falls to 1 over the last steps on grids of fewer intervals than this (a step to
            σ = 0 counts): 10 in the official code, 15 in diffusers, 0 for never.
    """

    paper = OFFICIAL

    lower_order_final: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 0, "lower_order_final")

    def cost(self, intervals: int) -> int:
        return intervals

    def integrate(self, denoiser: Denoiser, x: Tensor, sigmas: Tensor, noise: ShardNoise) -> Tensor:
        steps = len(sigmas) - 1
        orders = falling_orders(self.order, steps, steps < self.lower_order_final)
        lambdas = log_snr(sigmas)
        past: list[Tensor] = []  # newest first
        for i, order in enumerate(orders):
            past = [self.form.model(denoiser, x, sigmas[i]), *past[: self.order - 1]]
            h = lambdas[i + 1] - lambdas[i]
            r = [(lambdas[i - k] - lambdas[i - k - 1]) / h for k in range(order - 1)]
            x = self.step(x, sigmas[i], sigmas[i + 1], past[:order], r)
        return x

    @abstractmethod
    def step(self, x: Tensor, sigma: Tensor, sigma_next: Tensor, m: list[Tensor], r: list[Number]) -> Tensor:
        """One step from the outputs m, newest first, and the lengths r of the steps between them over the new one's."""


@dataclass(frozen=True)
class Multistep2(Multistep):
    """Second order (Lu et al. 2022b, algorithm 2, in either form)."""

    order: ClassVar[int] = 2

    def step(self, x: Tensor, sigma: Tensor, sigma_next: Tensor, m: list[Tensor], r: list[Number]) -> Tensor:
        if len(m) == 1 or sigma_next == 0:
            return self.form.step(x, sigma, sigma_next, m[0])
        return self.form.step(x, sigma, sigma_next, m[0] + (m[0] - m[1]) / (2 * r[0]))


@dataclass(frozen=True)
class Multistep3(Multistep2):
    """Third order, from the derivatives of the parabola through three outputs.

    Attributes:
        exact_d2: the official code (as diffusers and k-diffusion) takes half of the parabola's second derivative for
            the whole, which leaves the method at order 2. That is the default, since it is what is in use; true takes
            the whole one, and reaches order 3.
    """

    order: ClassVar[int] = 3

    exact_d2: bool = False

    @property
    def convergence(self) -> int | None:
        return 3 if self.exact_d2 else 2

    def step(self, x: Tensor, sigma: Tensor, sigma_next: Tensor, m: list[Tensor], r: list[Number]) -> Tensor:
        if len(m) < 3 or sigma_next == 0:
            return super().step(x, sigma, sigma_next, m, r)
        newer, older = (m[0] - m[1]) / r[0], (m[1] - m[2]) / r[1]
        d1 = newer + r[0] / (r[0] + r[1]) * (newer - older)
        d2 = (newer - older) / (r[0] + r[1])
        return self.form.step(x, sigma, sigma_next, m[0], d1, 2 * d2 if self.exact_d2 else d2)


@register("dpm-solver-2m")
class DPMSolver2M(Multistep2):
    """DPM-Solver, multistep, second order."""

    title = "DPM-Solver 2M"
    summary = "multistep, second order, noise prediction"


@register("dpm-solver-3m")
class DPMSolver3M(Multistep3):
    """DPM-Solver, multistep, third order."""

    title = "DPM-Solver 3M"
    summary = "multistep of 3 outputs, noise prediction"


@register("dpm-solver++-2m")
class DPMSolverPP2M(Multistep2):
    """DPM-Solver++(2M)."""

    title = "DPM-Solver++ 2M"
    summary = "multistep, second order, data prediction"
    paper = PLUS_PLUS
    form = DATA


@register("dpm-solver++-3m")
class DPMSolverPP3M(Multistep3):
    """DPM-Solver++(3M)."""

    title = "DPM-Solver++ 3M"
    summary = "multistep of 3 outputs, data prediction"
    form = DATA
