"""DPM-Solver and DPM-Solver++: exponential integrators in λ, singlestep and multistep."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from samplers.base import Denoiser, ReverseSampler
from samplers.exponential import DATA, NOISE, Exponential, between, falling_orders
from samplers.noise import ShardNoise, make_grid
from samplers.options import check_at_least
from samplers.registry import register

SOLVER = "Lu, Zhou, Bao, Chen, Li, Zhu 2022, arXiv 2206.00927"
PLUS_PLUS = "Lu, Zhou, Bao, Chen, Li, Zhu 2022, arXiv 2211.01095"
OFFICIAL = f"{PLUS_PLUS}, and their code"  # of multistep solvers the papers have only 2M with data prediction
LOG_SNR = {"grid": "log-snr"}  # their code: "recommended for low-resolution images"


@dataclass(frozen=True)
class Singlestep(ReverseSampler):
    """Steps of up to three evaluations each, independent of each other.

    Every step but the last is of full order; the last is of the order that the budget leaves, so that it is spent
    to the last evaluation (the official `singlestep` method).

    Class attributes:
        order: of a full step.
        form: noise or data prediction.
    """

    family = "plain"
    paper = SOLVER
    preset = LOG_SNR
    order: ClassVar[int]
    form: ClassVar[Exponential] = NOISE

    @property
    def convergence(self) -> int | None:
        return self.order

    def cost(self, intervals: int) -> int:
        """The least that so many steps take: the last one of first order."""
        return self.order * (intervals - 1) + 1

    def orders(self, intervals: int, spend: int) -> list[int]:
        """The order of each of `intervals` steps that take `spend` evaluations together."""
        return [self.order] * (intervals - 1) + [spend - self.order * (intervals - 1)]

    def solve(
        self, denoiser: Denoiser, x: Tensor, sigma_max: float, sigma_min: float, noise: ShardNoise, nfe: int
    ) -> Tensor:
        intervals = self.intervals(nfe)
        sigmas = make_grid(self.grid, intervals, sigma_max, sigma_min)
        x = self.walk(denoiser, x, sigmas, self.orders(intervals, self.spend(nfe)))
        return x if self.end == "sigma-min" else denoiser(x, sigmas[-1])

    def integrate(self, denoiser: Denoiser, x: Tensor, sigmas: Tensor, noise: ShardNoise) -> Tensor:
        """As in the base, every step of full order (a step to 0 is of first order)."""
        return self.walk(denoiser, x, sigmas, [self.order if sigma > 0 else 1 for sigma in sigmas[1:]])

    def walk(self, denoiser: Denoiser, x: Tensor, sigmas: Tensor, orders: list[int]) -> Tensor:
        """Take x [S, ...] down the levels with a step of the given order over each interval."""
        steps = {1: self.first, 2: self.second, 3: self.third}
        for sigma, sigma_next, order in zip(sigmas[:-1], sigmas[1:], orders, strict=True):
            x = steps[order](denoiser, x, sigma, sigma_next)
        return x

    def first(self, denoiser: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
        """DPM-Solver-1, which is DDIM (Lu et al. 2022a, eq. 3.7)."""
        return self.form.step(x, sigma, sigma_next, self.form.model(denoiser, x, sigma))

    def second(self, denoiser: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor, r1: float = 1 / 2) -> Tensor:
        """DPM-Solver-2 (Lu et al. 2022a, algorithm 1); DPM-Solver++(2S) (Lu et al. 2022b, algorithm 1)."""
        form, s1 = self.form, between(sigma, sigma_next, r1)
        m = form.model(denoiser, x, sigma)
        m1 = form.model(denoiser, form.step(x, sigma, s1, m), s1)
        return form.step(x, sigma, sigma_next, m + (m1 - m) / (2 * r1))

    def third(
        self, denoiser: Denoiser, x: Tensor, sigma: Tensor, sigma_next: Tensor, r1: float = 1 / 3, r2: float = 2 / 3
    ) -> Tensor:
        """DPM-Solver-3 (Lu et al. 2022a, algorithm 2)."""
        form, s1, s2 = self.form, between(sigma, sigma_next, r1), between(sigma, sigma_next, r2)
        m = form.model(denoiser, x, sigma)
        m1 = form.model(denoiser, form.step(x, sigma, s1, m), s1)
        m2 = form.model(denoiser, form.step(x, sigma, s2, m, r2 / r1 * (m1 - m)), s2)
        return form.step(x, sigma, sigma_next, m, (m2 - m) / r2)


@register("dpm-solver-1")
class DPMSolver1(Singlestep):
    """DPM-Solver-1: DDIM, derived as an exponential integrator."""

    title = "DPM-Solver-1"
    summary = "first order, the same as DDIM"
    order = 1


@register("dpm-solver-2s")
class DPMSolver2S(Singlestep):
    """DPM-Solver-2, singlestep."""

    title = "DPM-Solver-2s"
    summary = "singlestep, second order, noise prediction"
    order = 2


@register("dpm-solver-3s")
class DPMSolver3S(Singlestep):
    """DPM-Solver-3, singlestep; differs from `dpm-solver-fast` where the last step can be a full one."""

    title = "DPM-Solver-3s"
    summary = "singlestep, third order, noise prediction"
    order = 3


@register("dpm-solver-fast")
class DPMSolverFast(DPMSolver3S):
    """DPM-Solver-fast, the schedule of Lu et al. (2022a) for a given budget.

    Steps of third order, then always one or two of lower order. Its ⌊NFE/3⌋ + 1 steps are equally long on the grid,
    as in the official code on the log-SNR grid.
    """

    title = "DPM-Solver-fast"
    summary = "the official schedule of orders 3, 2 and 1 for a budget"

    @property
    def convergence(self) -> int | None:
        return 2  # of the single steps of order 1 or 2 at the end

    def cost(self, intervals: int) -> int:
        return max(1, 3 * (intervals - 1))

    def orders(self, intervals: int, spend: int) -> list[int]:
        if intervals > 1 and spend == 3 * (intervals - 1):
            return [3] * (intervals - 2) + [2, 1]
        return super().orders(intervals, spend)


@register("dpm-solver++-2s")
class DPMSolverPP2S(DPMSolver2S):
    """DPM-Solver++(2S)."""

    title = "DPM-Solver++-2s"
    summary = "singlestep, second order, data prediction"
    paper = PLUS_PLUS
    form = DATA


@dataclass(frozen=True)
class Multistep(ReverseSampler):
    """One evaluation a step; the outputs of earlier steps give the derivatives. The order grows from 1.

    Attributes:
        lower_order_final: the order falls to 1 over the last steps on grids of fewer intervals than this (a step to
            σ = 0 counts): 10 in the official code, 15 in diffusers, 0 for never.

    Class attributes:
        order: how many outputs are combined.
        form: noise or data prediction.
    """

    family = "plain"
    paper = OFFICIAL
    preset = LOG_SNR
    order: ClassVar[int]
    form: ClassVar[Exponential] = NOISE

    lower_order_final: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 0, "lower_order_final")

    @property
    def convergence(self) -> int | None:
        return self.order

    def cost(self, intervals: int) -> int:
        return intervals

    def integrate(self, denoiser: Denoiser, x: Tensor, sigmas: Tensor, noise: ShardNoise) -> Tensor:
        steps = len(sigmas) - 1
        orders = falling_orders(self.order, steps, steps < self.lower_order_final)
        lambdas = (-torch.log(sigmas)).tolist()
        past: list[Tensor] = []  # newest first
        for i, order in enumerate(orders):
            past = [self.form.model(denoiser, x, sigmas[i]), *past[: self.order - 1]]
            h = lambdas[i + 1] - lambdas[i]
            r = [(lambdas[i - k] - lambdas[i - k - 1]) / h for k in range(order - 1)]
            x = self.step(x, sigmas[i], sigmas[i + 1], past[:order], r)
        return x

    @abstractmethod
    def step(self, x: Tensor, sigma: Tensor, sigma_next: Tensor, m: list[Tensor], r: list[float]) -> Tensor:
        """One step from the outputs m, newest first, and the lengths r of the steps between them over the new one's."""


@dataclass(frozen=True)
class Multistep2(Multistep):
    """Second order (Lu et al. 2022b, algorithm 2, in either form)."""

    order: ClassVar[int] = 2

    def step(self, x: Tensor, sigma: Tensor, sigma_next: Tensor, m: list[Tensor], r: list[float]) -> Tensor:
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

    def step(self, x: Tensor, sigma: Tensor, sigma_next: Tensor, m: list[Tensor], r: list[float]) -> Tensor:
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
