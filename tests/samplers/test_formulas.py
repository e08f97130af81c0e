"""Solvers against their papers' formulas, written anew in the papers' variables, in float64.

The papers have variance-preserving states x_t = α x0 + σ ε with σ² = 1 − α² (here `alpha`, `sigma_vp`), ᾱ = α² and
λ = log(α/σ); ours are x_t/α. Where diffusers has a scheduler, `test_parity` compares with that as well.
"""

import math
from itertools import pairwise

import pytest
import torch

from samplers.denoisers import CountingDenoiser
from samplers.noise import GRIDS, ShardNoise, make_grid, vp_sigma, vp_time
from samplers.registry import lookup
from tests.oracles import F64, Gaussian, mixture_denoiser, relative_error

FLOAT64 = 1e-11
SIGMA_MAX, SIGMA_MIN = 80.0, 0.02
START = SIGMA_MAX * ShardNoise(1, 0, (64, 3), F64).initial()


class MixtureProblem(Gaussian):
    """What a sampler may know of the problem whose exact denoiser is `mixture_denoiser`."""

    def denoiser(self, x, sigma):
        return mixture_denoiser(x, sigma)


PROBLEM = MixtureProblem(sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX)


def ours(name, nfe, **options):
    """A sampler's samples from `START`, and the evaluations that it took."""
    counter = CountingDenoiser(mixture_denoiser, nfe)
    x = lookup(name).make(**options).fit(PROBLEM, nfe).sample(counter, ShardNoise(1, 0, (64, 3), F64))
    return x, counter.nfe


def eps_of(x, alpha_bar):
    """ε of the model at a VP state."""
    sigma = ((1 - alpha_bar) / alpha_bar) ** 0.5
    ve = x / alpha_bar**0.5
    return (ve - mixture_denoiser(ve, sigma)) / sigma


def transfer(x, eps, alpha_bar, next_alpha_bar):
    """φ of Liu et al. (2022), eq. 11."""
    scale = alpha_bar**0.5 * (((1 - next_alpha_bar) * alpha_bar) ** 0.5 + ((1 - alpha_bar) * next_alpha_bar) ** 0.5)
    return (next_alpha_bar / alpha_bar) ** 0.5 * x - (next_alpha_bar - alpha_bar) / scale * eps


def linear_multistep(eps):
    """Adams–Bashforth of the ε so far, oldest first."""
    if len(eps) == 1:
        return eps[-1]
    if len(eps) == 2:
        return (3 * eps[-1] - eps[-2]) / 2
    if len(eps) == 3:
        return (23 * eps[-1] - 16 * eps[-2] + 5 * eps[-3]) / 12
    return (55 * eps[-1] - 59 * eps[-2] + 37 * eps[-3] - 9 * eps[-4]) / 24


def pseudo_euler(x, e1, now, then):
    """ε of pseudo improved Euler (Liu et al. 2022, appendix; S-PNDM's first step)."""
    return (e1 + eps_of(transfer(x, e1, now, then), then)) / 2


def pndm(sigmas, most, warm):
    """The VP state at the end, for a warm-up of `warm` improved Euler steps and at most `most` ε afterwards."""
    alpha_bars = (1 / (1 + sigmas**2)).tolist()
    x, eps = START * alpha_bars[0] ** 0.5, []
    for i, (now, then) in enumerate(pairwise(alpha_bars)):
        eps.append(eps_of(x, now))
        mean = pseudo_euler(x, eps[-1], now, then) if i < warm else linear_multistep(eps[-most:])
        x = transfer(x, mean, now, then)
    return x / alpha_bars[-1] ** 0.5


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("intervals", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("name, most, warm", [("s-pndm", 2, 1), ("plms", 4, 1), ("ipndm", 4, 0)])
def test_pndm_without_runge_kutta(name, most, warm, intervals, grid):
    found, nfe = ours(name, intervals + warm, grid=grid, end="sigma-min")
    assert nfe == intervals + warm
    expected = pndm(make_grid(grid, intervals, SIGMA_MAX, SIGMA_MIN), most, warm)
    assert relative_error(found, expected) < FLOAT64


def vp(lambda_):
    """α and σ at λ = log(α/σ), as floats."""
    return (1 / (1 + math.exp(-2 * lambda_))) ** 0.5, (1 / (1 + math.exp(2 * lambda_))) ** 0.5


def eps_at(x, lambda_):
    return eps_of(x, vp(lambda_)[0] ** 2)


def solver_1(x, s, t):
    """DPM-Solver-1 (Lu et al. 2022, eq. 3.7) from λ = s to λ = t."""
    (alpha_s, _), (alpha_t, sigma_t) = vp(s), vp(t)
    return alpha_t / alpha_s * x - sigma_t * math.expm1(t - s) * eps_at(x, s)


def solver_2(x, s, t, r1=0.5):
    """DPM-Solver-2 (algorithm 4 of the paper; at r1 = 1/2 its algorithm 1)."""
    h, (alpha_s, _), (alpha_t, sigma_t) = t - s, vp(s), vp(t)
    alpha_1, sigma_1 = vp(s + r1 * h)
    eps = eps_at(x, s)
    u = alpha_1 / alpha_s * x - sigma_1 * math.expm1(r1 * h) * eps
    difference = eps_at(u, s + r1 * h) - eps
    return alpha_t / alpha_s * x - sigma_t * math.expm1(h) * eps - sigma_t / (2 * r1) * math.expm1(h) * difference


def solver_3(x, s, t, r1=1 / 3, r2=2 / 3):
    """DPM-Solver-3 (algorithm 5 of the paper; at these r its algorithm 2)."""
    h, (alpha_s, _), (alpha_t, sigma_t) = t - s, vp(s), vp(t)
    (alpha_1, sigma_1), (alpha_2, sigma_2) = vp(s + r1 * h), vp(s + r2 * h)
    eps = eps_at(x, s)
    u1 = alpha_1 / alpha_s * x - sigma_1 * math.expm1(r1 * h) * eps
    d1 = eps_at(u1, s + r1 * h) - eps
    u2 = alpha_2 / alpha_s * x - sigma_2 * math.expm1(r2 * h) * eps
    u2 = u2 - sigma_2 * r2 / r1 * (math.expm1(r2 * h) / (r2 * h) - 1) * d1
    d2 = eps_at(u2, s + r2 * h) - eps
    return alpha_t / alpha_s * x - sigma_t * math.expm1(h) * eps - sigma_t / r2 * (math.expm1(h) / h - 1) * d2


STEPS = {1: solver_1, 2: solver_2, 3: solver_3}


def code_orders(name, evaluations):
    """Orders of the steps: of `singlestep` in the authors' code, which for order 3 is DPM-Solver-fast."""
    if name.endswith("2s"):
        return [2] * (evaluations // 2) + [1] * (evaluations % 2)
    threes, rest = divmod(evaluations, 3)
    if rest:
        return [3] * threes + [rest]
    return [3] * threes if name.endswith("3s") else [3] * (threes - 1) + [2, 1]


def walked(levels, orders, inner):
    """x at the last of the λ `levels`, times 1/α; `inner` are the r of each step."""
    x = START * vp(levels[0])[0]
    for (s, t), order, r in zip(pairwise(levels), orders, inner, strict=True):
        x = STEPS[order](x, s, t, *r)
    return x / vp(levels[-1])[0]


SINGLESTEP = pytest.mark.parametrize("name", ["dpm-solver-2s", "dpm-solver-3s", "dpm-solver-fast"])
EVALUATIONS = pytest.mark.parametrize("evaluations", [3, 4, 5, 6, 12, 13, 20])


@SINGLESTEP
@EVALUATIONS
@pytest.mark.parametrize("spacing", ["equal", "code"])
def test_singlestep_on_its_own_grid(name, evaluations, spacing):
    """Equal steps in λ, inner levels at a half, or a third and two thirds: paper and code agree."""
    orders = code_orders(name, evaluations)
    span = math.log(SIGMA_MAX / SIGMA_MIN)
    levels = [-math.log(SIGMA_MAX) + span * i / len(orders) for i in range(len(orders) + 1)]
    found, nfe = ours(name, evaluations, grid="log-snr", end="sigma-min", spacing=spacing)
    assert nfe == evaluations
    assert relative_error(found, walked(levels, orders, [()] * len(orders))) < FLOAT64


@SINGLESTEP
@EVALUATIONS
@pytest.mark.parametrize("grid, power", [("ddpm-uniform", 1), ("ddpm-quadratic", 2)])
def test_singlestep_elsewhere_as_in_the_authors_code(name, evaluations, grid, power):
    """The steps end on a grid of all evaluations, and their inner levels are equally spaced in t^(1/power) again."""

    def time_steps(start, stop, count):
        """`get_time_steps` of the code: time_uniform or time_quadratic."""
        return torch.linspace(start ** (1 / power), stop ** (1 / power), count + 1, dtype=F64) ** power

    def lambdas(times):
        return (-torch.log(vp_sigma(times))).tolist()

    orders = code_orders(name, evaluations)
    first, last = (float(vp_time(torch.tensor(sigma, dtype=F64))) for sigma in (SIGMA_MAX, SIGMA_MIN))
    outer = time_steps(first, last, evaluations)[[sum(orders[:k]) for k in range(len(orders) + 1)]]
    inner = []
    for (start, stop), order in zip(pairwise(outer.tolist()), orders, strict=True):
        s, *between, t = lambdas(time_steps(start, stop, order))
        inner.append([(lambda_ - s) / (t - s) for lambda_ in between])
    found, nfe = ours(name, evaluations, grid=grid, end="sigma-min", spacing="code")
    assert nfe == evaluations
    assert relative_error(found, walked(lambdas(outer), orders, inner)) < 1e-9
    assert relative_error(found, ours(name, evaluations, grid=grid, end="sigma-min")[0]) > 1e-6


@SINGLESTEP
@EVALUATIONS
def test_singlestep_elsewhere_as_in_the_paper(name, evaluations):
    orders = code_orders(name, evaluations)
    levels = (-torch.log(make_grid("edm", len(orders), SIGMA_MAX, SIGMA_MIN))).tolist()
    found, _ = ours(name, evaluations, grid="edm", end="sigma-min")
    assert relative_error(found, walked(levels, orders, [()] * len(orders))) < FLOAT64


def edm(t, churn=0.0, s_noise=1.0, free=False):
    """Karras et al. 2022, algorithm 2, as their code has it; the levels `t` end with 0. `free` as Dockhorn et al."""
    noise, steps = ShardNoise(1, 0, (64, 3), F64), len(t) - 1
    x = START
    for i, (t_cur, t_next) in enumerate(pairwise(t.tolist())):
        gamma = min(churn / steps, 2**0.5 - 1)
        t_hat = t_cur * (1 + gamma)
        if gamma:
            x = x + (t_hat**2 - t_cur**2) ** 0.5 * s_noise * noise.step()
        d_cur = x / (1 + t_hat**2) ** 0.5 if free and i == 0 else (x - mixture_denoiser(x, t_hat)) / t_hat
        x_next = x + (t_next - t_hat) * d_cur
        if t_next:
            x_next = x + (t_next - t_hat) * (d_cur + (x_next - mixture_denoiser(x_next, t_next)) / t_next) / 2
        x = x_next
    return x


def to_zero(intervals):
    return torch.cat([make_grid("edm", intervals, SIGMA_MAX, SIGMA_MIN), torch.zeros(1, dtype=F64)])


@pytest.mark.parametrize("end", ["denoise", "zero"])
@pytest.mark.parametrize("churn", [0.0, 5.0, 40.0])
def test_heun_is_that_of_edm_at_18_levels(churn, end):
    """With churn 5, γ is 5/18 = 0.2778 for each of the 18 steps, that to 0 among them."""
    found, nfe = ours("heun", 35, s_churn=churn, s_noise=1.003, end=end)
    assert nfe == 35
    assert relative_error(found, edm(to_zero(17), churn, 1.003)) < FLOAT64


def test_churn_in_the_step_to_zero_has_a_key_of_its_own():
    heun = lookup("heun")
    assert heun.make(s_churn=5.0).revision == heun.make().revision + 1
    assert heun.make(s_churn=5.0, end="zero").revision == heun.make(end="zero").revision == heun.make().revision == 1


@pytest.mark.parametrize("name, intervals", [("ddim", 7), ("ipndm", 7), ("heun", 3)])
def test_the_analytical_first_step_takes_no_evaluation(name, intervals):
    """Eight evaluations with the end level: one interval more of the multistep solvers', half a Heun step."""
    found, nfe = ours(name, {"heun": 6}.get(name, 7), afs=True)
    assert nfe == {"heun": 6}.get(name, 7)
    t = to_zero(intervals)
    if name == "heun":
        assert relative_error(found, edm(t, free=True)) < FLOAT64
        return
    x, slopes = START, []
    for t_cur, t_next in pairwise(t[:-1].tolist()):
        slopes.append((x - mixture_denoiser(x, t_cur)) / t_cur if slopes else x / (1 + t_cur**2) ** 0.5)
        x = x + (t_next - t_cur) * linear_multistep(slopes[-4:] if name == "ipndm" else slopes[-1:])
    assert relative_error(found, mixture_denoiser(x, SIGMA_MIN)) < FLOAT64


def test_the_analytical_first_step_is_near_that_of_the_network():
    """At σ = 80 it costs hardly anything, which is why it is taken."""
    few, many = (ours("ipndm", nfe, afs=afs)[0] for nfe, afs in ((19, True), (20, False)))
    assert relative_error(few, many) < 1e-2


@pytest.mark.parametrize("name, least", [("s-pndm", 4), ("plms", 4), ("ipndm", 3), ("f-pndm", 14), ("ddim", 1)])
def test_the_least_budget_is_the_first_beyond_the_warm_up(name, least):
    sampler = lookup(name).make()
    assert sampler.least == least
    if name != "ddim":
        first_multistep = max(sampler.warm_up[0], 1) + 1
        assert sampler.intervals(least) == first_multistep and sampler.intervals(least - 1) < first_multistep
