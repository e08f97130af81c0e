"""Order of convergence on a Gaussian, whose probability flow is known.

The levels run from σ = 1000, where ε hardly changes and the low order of a multistep method's first steps does not
show, to σ = 0.5, amid the data's scales: on all of (0, ∞) the leading error of some methods cancels.
"""

import math

import pytest

from samplers.base import ReverseSampler
from samplers.noise import ShardNoise
from samplers.registry import available, lookup
from tests.oracles import F64, Gaussian

PROBLEM = Gaussian(sigma_min=0.5, sigma_max=1000.0)

VARIANTS = {
    "deis": [{"order": r, "variable": v} for r in range(4) for v in ("t", "rho", "log-rho")],
    "unipc": [
        {},
        *(
            {"order": p, "variant": v, "prediction": m, "lower_order_final": False}
            for p in (1, 2, 3)
            for v in ("bh1", "bh2")
            for m in ("data", "noise")
        ),
    ],
    "dpm-solver-3m": [{}, {"exact_d2": True}],
    "dpm-solver++-3m": [{}, {"exact_d2": True}],
}
DETERMINISTIC = [
    (name, options)
    for name, entry in available().items()
    if issubclass(entry.cls, ReverseSampler) and entry.make().convergence is not None
    for options in VARIANTS.get(name, [{}])
]


def error(sampler, nfe):
    """Root mean square error at σ_min."""
    noise = ShardNoise(0, 0, (32, 3), F64)
    found = sampler.fit(PROBLEM, nfe).sample(PROBLEM.denoiser, noise)
    exact = PROBLEM.flow(PROBLEM.sigma_max * noise.initial(), PROBLEM.sigma_max, PROBLEM.sigma_min)
    return float((found - exact).pow(2).mean().sqrt())


def budget(name, sampler, intervals):
    """Evaluations for so many steps: all that they can use; the least for `dpm-solver-fast`, to end in order 1."""
    return sampler.cost(intervals) if name == "dpm-solver-fast" else sampler.cost(intervals + 1) - 1


def measured_order(name, **options):
    sampler = lookup(name).make(end="sigma-min", **options)
    coarse, fine = (error(sampler, budget(name, sampler, intervals)) for intervals in (128, 256))
    return math.log2(coarse / fine)


@pytest.mark.parametrize("name, options", DETERMINISTIC, ids=str)
def test_order_of_convergence(name, options):
    nominal = lookup(name).make(**options).convergence
    assert measured_order(name, **options) == pytest.approx(nominal, abs=0.2)


@pytest.mark.parametrize("grid", ["ddpm-uniform", "ddpm-quadratic", "edm"])
@pytest.mark.parametrize("name", ["ddim", "f-pndm", "dpm-solver++-2m", "heun"])
def test_order_does_not_depend_on_the_grid(name, grid):
    nominal = lookup(name).make().convergence
    assert measured_order(name, grid=grid) == pytest.approx(nominal, abs=0.2)


@pytest.mark.parametrize("grid", ["ddpm-uniform", "ddpm-quadratic", "edm"])
@pytest.mark.parametrize("name", ["dpm-solver-2s", "dpm-solver-3s", "dpm-solver-fast", "dpm-solver++-2s"])
def test_order_does_not_depend_on_where_the_inner_levels_lie(name, grid):
    nominal = lookup(name).make().convergence
    assert measured_order(name, grid=grid, spacing="code") == pytest.approx(nominal, abs=0.2)


def test_every_solver_of_the_probability_flow_has_an_order():
    stochastic = {"ddpm", "langevin"}
    reverse = {name for name, entry in available().items() if issubclass(entry.cls, ReverseSampler)}
    assert {name for name, _ in DETERMINISTIC} == reverse - stochastic


@pytest.mark.parametrize("name, options", [("ddim", {"eta": 0.5}), ("heun", {"s_churn": 10.0})])
def test_noise_leaves_no_order(name, options):
    assert lookup(name).make(**options).convergence is None


def test_half_a_second_derivative_costs_an_order():
    """What `exact_d2` is for: the third-order multistep formula in use is of second order."""
    for name in ("dpm-solver-3m", "dpm-solver++-3m"):
        assert measured_order(name, exact_d2=True) - measured_order(name) > 0.8
