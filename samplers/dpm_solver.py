"""DPM-Solver and DPM-Solver++, singlestep: exponential integrators in λ with steps of up to three evaluations."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, repeat
from typing import ClassVar, Literal

from torch import Tensor

from samplers.base import Denoiser, ReverseSampler
from samplers.exponential import DATA, NOISE, Exponential, between
from samplers.noise import ShardNoise, make_grid
from samplers.options import added
from samplers.registry import register

SOLVER = "Lu, Zhou, Bao, Chen, Li, Zhu 2022, arXiv 2206.00927"
PLUS_PLUS = "Lu, Zhou, Bao, Chen, Li, Zhu 2022, arXiv 2211.01095"
LOG_SNR = {"grid": "log-snr"}  # their code: "recommended for low-resolution images"


@dataclass(frozen=True)
class DPMSolver(ReverseSampler):
    """Base of the exponential integrators in λ, singlestep and multistep.

    Class attributes:
        order: of a full step.
        form: noise or data prediction.
    """

    family = "plain"
    preset = LOG_SNR
    order: ClassVar[int]
    form: ClassVar[Exponential] = NOISE

    @property
    def convergence(self) -> int | None:
        return self.order


@dataclass(frozen=True)
class Singlestep(DPMSolver):
    """Steps of up to three evaluations each, independent of each other.

    Every step but the last is of full order; the last is of the order that the budget leaves, so that it is spent
    to the last evaluation. For order 2 that is `singlestep` of the official code, which for order 3 is
    `dpm-solver-fast`.

    Attributes:
        spacing: the levels at which a step begins and looks. `equal`, as in the paper: steps of equal length on the
            grid, inner levels halfway in λ, or at a third and two thirds. `code`, as in the official code: one after
            the other the levels of a grid with an interval for each evaluation. On the log-SNR grid that code does as
            the paper does, and so does `code`.
    """

    paper = SOLVER

    spacing: Literal["equal", "code"] = added("equal")

    def cost(self, intervals: int) -> int:
        """The least that so many steps take: the last one of first order."""
        return self.order * (intervals - 1) + 1

    def orders(self, intervals: int, spend: int) -> list[int]:
        """The order of each of `intervals` steps that take `spend` evaluations together."""
        return [self.order] * (intervals - 1) + [spend - self.order * (intervals - 1)]

    def descend(self, denoiser: Denoiser, x: Tensor, sigmas: Tensor, noise: ShardNoise, nfe: int) -> Tensor:
        orders = self.orders(len(sigmas) - 1, self.spend(nfe))
        if self.spacing == "code" and self.grid != "log-snr":
            fine = make_grid(self.grid, sum(orders), float(sigmas[0]), float(sigmas[-1]))
            ends = [0, *accumulate(orders)]
            inner = [fractions(fine[begin : end + 1]) for begin, end in pairwise(ends)]
            x = self.walk(denoiser, x, fine[ends], orders, inner)
        else:
            x = self.walk(denoiser, x, sigmas, orders)
        return x if self.end == "sigma-min" else denoiser(x, sigmas[-1])

    def integrate(self, denoiser: Denoiser, x: Tensor, sigmas: Tensor, noise: ShardNoise) -> Tensor:
        """As in the base, every step of full order (a step to 0 is of first order)."""
        return self.walk(denoiser, x, sigmas, [self.order if sigma > 0 else 1 for sigma in sigmas[1:]])

    def walk(
        self,
        denoiser: Denoiser,
        x: Tensor,
        sigmas: Tensor,
        orders: list[int],
        inner: Iterable[Sequence[float]] = repeat(()),
    ) -> Tensor:
        """Take x [S, ...] down the levels with a step of the given order over each interval.

        Its inner levels lie at the fractions `inner` of it in λ, or where the step has them by default.
        """
        steps: dict[int, Callable[..., Tensor]] = {1: self.first, 2: self.second, 3: self.third}
        for (sigma, sigma_next), order, r in zip(pairwise(sigmas), orders, inner):  # noqa: B905 (`repeat` has no end)
            x = steps[order](denoiser, x, sigma, sigma_next, *r)
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


def fractions(sigmas: Tensor) -> list[float]:
    """Where the inner ones of these levels lie between the first and the last in λ."""
    lambdas = [-math.log(sigma) for sigma in sigmas.tolist()]
    return [(lambda_ - lambdas[0]) / (lambdas[-1] - lambdas[0]) for lambda_ in lambdas[1:-1]]


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
    """DPM-Solver-3, singlestep; differs from `dpm-solver-fast` where the last step can be a full one.

    The official code calls this schedule `singlestep_fixed`, and has it for budgets that are multiples of 3.
    """

    title = "DPM-Solver-3s"
    summary = "singlestep, third order, noise prediction"
    order = 3


@register("dpm-solver-fast")
class DPMSolverFast(DPMSolver3S):
    """DPM-Solver-fast, the schedule of Lu et al. (2022a) for a given budget.

    Steps of third order, then always one or two of lower order: `singlestep` of the official code. Its ⌊NFE/3⌋ + 1
    steps are equally long on the grid, as in that code on the log-SNR grid; elsewhere see `spacing`.
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
