"""Noise levels, and noise."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samplers.noise import GRIDS, ShardNoise, make_grid, vp_alpha, vp_sigma, vp_time
from tests.oracles import F64

sigma = st.floats(1e-4, 1e4)


@settings(deadline=None)
@given(st.sampled_from(list(GRIDS)), st.integers(1, 1000), sigma, st.floats(1.0001, 1e6))
def test_grids_decrease_between_exact_ends(name, steps, sigma_min, ratio):
    sigmas = make_grid(name, steps, sigma_min * ratio, sigma_min)
    assert sigmas.dtype == F64 and len(sigmas) == steps + 1
    assert sigmas[0] == sigma_min * ratio and sigmas[-1] == sigma_min
    assert (sigmas[1:] < sigmas[:-1]).all()


@settings(deadline=None)
@given(st.integers(1, 50), sigma, st.floats(1.01, 1e6))
def test_log_snr_is_geometric(steps, sigma_min, ratio):
    sigmas = make_grid("log-snr", steps, sigma_min * ratio, sigma_min)
    torch.testing.assert_close(sigmas[1:] / sigmas[:-1], torch.full((steps,), ratio ** (-1 / steps), dtype=F64))


def test_edm_grid_is_that_of_its_paper():
    """Karras et al. 2022, eq. 5, at its defaults."""
    i, n = torch.arange(18, dtype=F64), 18
    expected = (80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    torch.testing.assert_close(make_grid("edm", 17, 80.0, 0.002), expected)


@settings(deadline=None)
@given(st.floats(1e-8, 1e6))
def test_vp_time_inverts_vp_sigma(level):
    level = torch.tensor(level, dtype=F64)
    torch.testing.assert_close(vp_sigma(vp_time(level)), level, rtol=1e-10, atol=0)


def test_vp_schedule_is_the_limit_of_ddpm():
    """ᾱ of 1000 steps with β from 1e-4 to 0.02 (Ho et al. 2020) is that of the continuous schedule to 1%."""
    alphas_cumprod = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=F64)).cumprod(0)
    times = torch.arange(1, 1001, dtype=F64) / 1000
    alpha = vp_alpha(vp_sigma(times))
    torch.testing.assert_close(alpha.log()[99:], alphas_cumprod.log()[99:] / 2, rtol=1e-2, atol=0)


@pytest.mark.parametrize(
    "name, steps, sigma_max, sigma_min, message",
    [
        ("cosine", 5, 1.0, 0.1, "grid takes ddpm-uniform, ddpm-quadratic, log-snr or edm, not 'cosine'"),
        ("edm", 0, 1.0, 0.1, "a grid needs at least 1 interval, got 0"),
        ("edm", 5, 0.1, 0.1, "a grid needs 0 < sigma_min < sigma_max"),
        ("edm", 5, 1.0, 0.0, "a grid needs 0 < sigma_min < sigma_max"),
        ("edm", 5, float("inf"), 0.1, "a grid needs 0 < sigma_min < sigma_max"),
        ("edm", 5, 1.0, float("nan"), "a grid needs 0 < sigma_min < sigma_max"),
    ],
)
def test_no_such_grid(name, steps, sigma_max, sigma_min, message):
    with pytest.raises(ValueError, match=message):
        make_grid(name, steps, sigma_max, sigma_min)


def test_noise_of_a_shard_depends_on_seed_and_shard_alone():
    def draws(seed, shard):
        noise = ShardNoise(seed, shard, (4, 3))
        return noise.step(), noise.initial(), noise.step(), noise.uniform("index"), noise.initial()

    first, initial, second, uniform, initial_again = draws(0, 0)
    assert torch.equal(initial, initial_again)
    assert not torch.equal(first, second) and not torch.equal(first, initial)
    noise = ShardNoise(0, 0, (4, 3))  # in another order
    assert torch.equal(noise.uniform("index"), uniform) and torch.equal(noise.initial(), initial)
    assert torch.equal(noise.step(), first) and torch.equal(noise.step(), second)
    for other in (draws(1, 0), draws(0, 1)):
        assert not any(torch.equal(a, b) for a, b in zip(draws(0, 0), other, strict=True))


def test_noise_is_white():
    x = ShardNoise(0, 0, (2000, 8), F64).initial()
    assert x.mean(0).abs().max() < 5 / 2000**0.5
    assert (torch.cov(x.T) - torch.eye(8, dtype=F64)).abs().max() < 5 * (2 / 2000) ** 0.5
