"""Stochastic samplers on a Gaussian: each step is affine in x, so the law of the output is known exactly."""

import math
from itertools import pairwise

import pytest
import torch

from samplers.langevin import stable_step
from samplers.noise import ShardNoise, make_grid
from samplers.registry import lookup
from tests.oracles import F64, Gaussian

PROBLEM = Gaussian(mean=(0.3, -1.0), std=(0.5, 2.0), sigma_min=0.002, sigma_max=80.0)
COUNT = 40_000


def levels(name, steps):
    grid = make_grid(lookup(name).make().grid, steps, PROBLEM.sigma_max, PROBLEM.sigma_min)
    return [float(sigma) for sigma in grid]


def start():
    """Mean and variance at σ_max, relative to the data's mean: white noise, not the noised data."""
    return -PROBLEM.m, torch.full((2,), PROBLEM.sigma_max**2, dtype=F64)


def ancestral(sigmas, fresh_variance):
    """Moments after steps x0 + gain (x − x0) + fresh noise, for fresh_variance(σ, σ_next) -> (gain, variance)."""
    mean, variance = start()
    for sigma, sigma_next in pairwise(sigmas):
        gain, fresh = fresh_variance(sigma, sigma_next)
        k = PROBLEM.shrink(sigma)
        factor = k + gain * (1 - k)
        mean, variance = factor * mean, factor**2 * variance + fresh
    return mean, variance


def ddim_step(eta):
    def step(sigma, sigma_next):
        fresh = eta**2 * sigma_next**2 * (1 - sigma_next**2 / sigma**2)
        return math.sqrt(sigma_next**2 - fresh) / sigma, fresh

    return step


def ddpm_step(variance):
    def step(sigma, sigma_next):
        alpha_bar, alpha_bar_next = 1 / (1 + sigma**2), 1 / (1 + sigma_next**2)
        beta = 1 - alpha_bar / alpha_bar_next  # as Ho et al. write it, for the VP state
        fresh = beta if variance == "large" else (1 - alpha_bar_next) / (1 - alpha_bar) * beta
        return sigma_next**2 / sigma**2, fresh / alpha_bar_next

    return step


def heun_moments(sigmas, churn, s_noise):
    mean, variance = start()
    gamma = min(churn / (len(sigmas) - 1), math.sqrt(2) - 1)
    for sigma, sigma_next in pairwise(sigmas):
        hat = sigma * (1 + gamma)
        variance = variance + (hat**2 - sigma**2) * s_noise**2
        slope = (1 - PROBLEM.shrink(hat)) / hat
        euler = 1 + (sigma_next - hat) * slope
        slope_next = (1 - PROBLEM.shrink(sigma_next)) / sigma_next * euler
        factor = 1 + (sigma_next - hat) * (slope + slope_next) / 2
        mean, variance = factor * mean, factor**2 * variance
    return mean, variance


def langevin_moments(sigmas, steps, step_size):
    mean, variance = start()
    for before, sigma in pairwise(sigmas):
        alpha = step_size(before, sigma)
        factor = 1 - alpha / (PROBLEM.s**2 + sigma**2)
        for _ in range(steps):
            mean, variance = factor * mean, factor**2 * variance + 2 * alpha
    return mean, variance


def fixed(sigma_before, sigma):
    return 1e-3 * (sigma / PROBLEM.sigma_min) ** 2


def technique_4(steps):
    def step(before, sigma):
        return float(stable_step(torch.tensor(before / sigma, dtype=F64), steps)) * sigma**2

    return step


CASES = {
    "ddpm-small": ("ddpm", {}, 10, lambda s: ancestral(s, ddpm_step("small"))),
    "ddpm-large": ("ddpm", {"variance": "large"}, 10, lambda s: ancestral(s, ddpm_step("large"))),
    "ddim-half": ("ddim", {"eta": 0.5}, 10, lambda s: ancestral(s, ddim_step(0.5))),
    "ddim-1": ("ddim", {"eta": 1.0}, 10, lambda s: ancestral(s, ddim_step(1.0))),
    "heun-churn": ("heun", {"s_churn": 3.0, "s_noise": 1.003}, 10, lambda s: heun_moments(s, 3.0, 1.003)),
    "langevin": ("langevin", {"n_steps_each": 3, "step_lr": 1e-3}, 8, lambda s: langevin_moments(s, 3, fixed)),
    "langevin-auto": ("langevin", {"n_steps_each": 2}, 8, lambda s: langevin_moments(s, 2, technique_4(2))),
}


def check(found, mean, variance, errors=4.5):
    """Sample moments within so many standard errors of the exact ones."""
    centred = found - PROBLEM.m
    assert ((centred.mean(0) - mean).abs() < errors * (variance / COUNT).sqrt()).all()
    assert ((found.var(0) / variance - 1).abs() < errors * math.sqrt(2 / COUNT)).all()


@pytest.mark.parametrize("case", CASES)
def test_moments_of_few_steps(case):
    name, options, steps, exact = CASES[case]
    sampler = lookup(name).make(end="sigma-min", **options)
    fitted = sampler.fit(PROBLEM, sampler.cost(steps))
    found = fitted.sample(PROBLEM.denoiser, ShardNoise(3, 0, (COUNT, 2), F64))
    check(found, *exact(levels(name, steps)))


@pytest.mark.parametrize("name, options", [("ddpm", {}), ("ddpm", {"variance": "large"}), ("ddim", {"eta": 1.0})])
def test_many_steps_give_the_law_of_the_data(name, options):
    """The stochastic differential equation is solved to first order: halving its steps halves what is left."""
    exact = {"small": ddpm_step("small"), "large": ddpm_step("large")}[options.get("variance", "small")]
    gaps = []
    for steps in (200, 400):
        _, variance = ancestral([*levels(name, steps), 0.0], exact)
        gaps.append((variance / PROBLEM.s**2 - 1).abs())
    assert (gaps[0] / gaps[1]).tolist() == pytest.approx([2.0, 2.0], abs=0.2)
    fitted = lookup(name).make(**options).fit(PROBLEM, 401)
    found = fitted.sample(PROBLEM.denoiser, ShardNoise(3, 0, (10_000, 2), F64))
    assert ((found.mean(0) - PROBLEM.m).abs() < 0.04 * PROBLEM.s).all()
    assert ((found.std(0) / PROBLEM.s - 1).abs() < 0.04).all()


def test_langevin_with_many_levels_gives_the_law_of_the_data():
    """NCSNv2's settings for CIFAR-10, on half its range; their step leaves the variance some 10% too large."""
    problem = Gaussian(mean=(0.3, -1.0), std=(0.5, 2.0), sigma_min=0.02, sigma_max=40.0)
    fitted = lookup("langevin").make(n_steps_each=5, step_lr=0.062 * problem.sigma_min**2).fit(problem, 1156)
    found = fitted.sample(problem.denoiser, ShardNoise(3, 0, (10_000, 2), F64))
    assert ((found.mean(0) - problem.m).abs() < 0.04 * problem.s).all()
    assert ((found.std(0) / problem.s - 1).abs() < 0.1).all()


@pytest.mark.parametrize("gamma", [1.02, 1.5, 8.0])
def test_stable_step_of_one_step_is_the_closed_form(gamma):
    """(1−a)²γ² + 2a never falls to 1 and is least at a = 1 − 1/γ²."""
    found = float(stable_step(torch.tensor(gamma, dtype=F64), 1))
    assert found == pytest.approx(1 - 1 / gamma**2, rel=2e-2)
