"""What holds for every reverse sampler: budgets, bits, batches, the noise they start from, their options."""

import re

import pytest
import torch

from samplers.base import END_LEVELS, ReverseSampler
from samplers.denoisers import BudgetExceeded, CountingDenoiser
from samplers.errors import UserError
from samplers.noise import ShardNoise
from samplers.registry import available, lookup
from tests.oracles import Gaussian

PROBLEM = Gaussian(dtype=torch.float32)

SAMPLERS = {name: {} for name, entry in available().items() if issubclass(entry.cls, ReverseSampler)}
VARIANTS = [
    *SAMPLERS.items(),
    ("ddim", {"eta": 1.0}),
    ("heun", {"s_churn": 5.0}),
    ("langevin", {"n_steps_each": 3}),
    ("langevin", {"n_steps_each": 150}),
    ("unipc", {"order": 2, "variant": "bh1", "lower_order_final": False}),
    ("unipc", {"prediction": "noise"}),
    ("deis", {"order": 1, "variable": "log-rho", "lower_order_final": 15}),
    ("dpm-solver++-3m", {"lower_order_final": 0}),
    ("dpm-solver-3s", {"spacing": "code"}),
    ("dpm-solver-fast", {"spacing": "code", "grid": "ddpm-quadratic", "afs": True}),
    *((name, {"afs": True}) for name in SAMPLERS if name != "langevin"),
]
END = pytest.mark.parametrize("end", END_LEVELS)
EVERY = pytest.mark.parametrize("name, options", VARIANTS, ids=str)


def sample(sampler, nfe, seed=0, batch=None, problem=PROBLEM):
    """Samples of a small shard, and the counter."""
    counter = CountingDenoiser(problem.denoiser, budget=nfe, batch=batch)
    noise = ShardNoise(seed, 0, (5, 3), problem.dtype)
    return sampler.fit(problem, nfe).sample(counter, noise), counter


@END
@EVERY
def test_budget_is_kept_and_used(name, options, end):
    sampler = lookup(name).make(end=end, **options)
    worked = False
    for nfe in range(1, 31):
        try:
            x, counter = sample(sampler, nfe)
        except UserError as error:
            enough = int(re.fullmatch(rf"needs at least (\d+) evaluations, got {nfe}", str(error)).group(1))
            assert enough > nfe and not worked
            sampler.check(enough)
            with pytest.raises(UserError):
                sampler.check(enough - 1)
            continue
        worked = True
        intervals = sampler.intervals(nfe)
        next_interval = sampler.cost(intervals + 1) - sampler.cost(intervals)
        assert nfe - next_interval < counter.nfe <= nfe
        assert x.dtype == torch.float32 and x.isfinite().all()


def test_clamping_is_for_images():
    with pytest.raises(UserError, match=r"^clamp is for images in \[-1, 1\], and gaussian has none: set clamp=false$"):
        lookup("ddim").make(clamp=True).fit(PROBLEM, 5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_clamped_samples_stay_in_the_range_of_images(name):
    """The data lie about 3, which the estimates alone would reach."""
    problem = Gaussian(mean=(3.0,), std=(0.1,))
    for clamp, bound in ((True, 1), (False, 3.5)):
        noise = ShardNoise(0, 0, (5, 1), torch.float64)
        x = lookup(name).make(clamp=clamp).solve(problem.denoiser, 80 * noise.initial(), 80.0, 0.02, noise, 20)
        assert bound - 1 <= float(x.max()) <= bound


@pytest.mark.parametrize("nfe", [0, -3])
@pytest.mark.parametrize("name", SAMPLERS)
def test_no_evaluations_are_too_few(name, nfe):
    with pytest.raises(UserError, match=f"needs at least \\d+ evaluations, got {nfe}"):
        lookup(name).make().fit(PROBLEM, nfe)


def test_a_sampler_over_its_budget_is_stopped():
    counter = CountingDenoiser(PROBLEM.denoiser, budget=2)
    with pytest.raises(BudgetExceeded):
        lookup("ddim").make().fit(PROBLEM, 5).sample(counter, ShardNoise(0, 0, (5, 3)))


@EVERY
def test_same_seed_same_bits_whatever_the_batch(name, options):
    sampler = lookup(name).make(**options)
    nfe = max(20, sampler.cost(1) + 1)
    x, counter = sample(sampler, nfe)
    for batch in (None, 1, 2, 5):
        again, recount = sample(sampler, nfe, batch=batch)
        assert torch.equal(x, again) and counter.nfe == recount.nfe
    assert not torch.equal(x, sample(sampler, nfe, seed=1)[0])


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_starts_from_the_same_noise(name):
    seen = []

    def denoiser(x, sigma):
        seen.append(x.clone())
        return PROBLEM.denoiser(x, sigma)

    noise = ShardNoise(7, 3, (5, 3))
    lookup(name).make().fit(PROBLEM, 20).sample(denoiser, noise)
    assert torch.equal(seen[0], PROBLEM.sigma_max * ShardNoise(7, 3, (5, 3)).initial())


@END
@pytest.mark.parametrize("name", SAMPLERS)
def test_range_and_end_level(name, end):
    """The denoiser sees σ_max first and never leaves [σ_min, σ_max]; `sigma-min` alone never asks at σ_min."""
    seen = []

    def denoiser(x, sigma):
        seen.append(float(sigma))
        return PROBLEM.denoiser(x, sigma)

    sampler = lookup(name).make(end=end, sigma_max=10.0, sigma_min=0.1)
    sampler.fit(PROBLEM, 20).sample(denoiser, ShardNoise(0, 0, (5, 3), torch.float64))
    assert min(seen) >= 0.1 and max(seen) <= 10
    if name != "langevin":  # which starts below σ_max, where x already is at its law
        assert seen[0] == 10
    if name not in ("langevin", "heun"):  # which look at where they arrive
        assert (seen[-1] == 0.1) == (end != "sigma-min")


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("ddim", {"eta": 1.5}, r"eta must lie in \[0, 1\], got 1.5"),
        ("ddim", {"eta": "nan"}, r"eta must lie in \[0, 1\], got nan"),
        ("ddim", {"grid": "linear"}, "grid takes ddpm-uniform, ddpm-quadratic, log-snr or edm, not 'linear'"),
        ("ddim", {"end": "clean"}, "end takes denoise, zero or sigma-min, not 'clean'"),
        ("ddpm", {"variance": "learned"}, "variance takes small or large, not 'learned'"),
        ("dpm-solver++-2m", {"lower_order_final": -1}, "lower_order_final must be at least 0, got -1"),
        ("unipc", {"order": 4}, "order takes 1, 2 or 3, not 4"),
        ("unipc", {"variant": "bh3"}, "variant takes bh1 or bh2, not 'bh3'"),
        ("unipc", {"prediction": "v"}, "prediction takes data or noise, not 'v'"),
        ("deis", {"order": 4}, "order takes 0, 1, 2 or 3, not 4"),
        ("deis", {"variable": "s"}, "variable takes t, rho or log-rho, not 's'"),
        ("deis", {"lower_order_final": -1}, "lower_order_final must be at least 0, got -1"),
        ("heun", {"s_churn": -1.0}, "s_churn must be at least 0 and finite, got -1"),
        ("heun", {"s_tmin": 2.0, "s_tmax": 1.0}, "s_tmin must not exceed s_tmax, got 2 and 1"),
        ("langevin", {"n_steps_each": 0}, "n_steps_each must be at least 1, got 0"),
        ("langevin", {"step_lr": 0.0}, "step_lr must be positive and finite, got 0"),
    ],
)
def test_a_wrong_option_gets_one_line(name, options, message):
    with pytest.raises(UserError, match=f"^sampler '{re.escape(name)}': {message}") as caught:
        lookup(name).make(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sigma_min, sigma_max", [(1.0, 0.5), (0.0, 1.0), (-1.0, 1.0), (1.0, 1.0), (0.1, float("inf"))])
def test_a_wrong_range_gets_one_line(sigma_min, sigma_max):
    sampler = lookup("ddim").make(sigma_min=sigma_min, sigma_max=sigma_max)
    with pytest.raises(UserError, match="needs 0 < sigma_min < sigma_max"):
        sampler.fit(PROBLEM, 10)


def test_fast_spends_the_budget_as_the_paper_says():
    """Lu et al. (2022a): NFE/3 steps, the last of them of the orders that are left."""
    fast = lookup("dpm-solver-fast").make(end="sigma-min")
    for nfe, orders in {
        2: [2],
        3: [2, 1],
        4: [3, 1],
        5: [3, 2],
        6: [3, 2, 1],
        10: [3, 3, 3, 1],
        12: [3, 3, 3, 2, 1],
    }.items():
        assert fast.orders(fast.intervals(nfe), nfe) == orders
    third = lookup("dpm-solver-3s").make(end="sigma-min")
    for nfe, orders in {6: [3, 3], 7: [3, 3, 1], 8: [3, 3, 2]}.items():
        assert third.orders(third.intervals(nfe), nfe) == orders
