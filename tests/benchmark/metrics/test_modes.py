import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from benchmark.metrics.mode_mixture import LAMBDAS, mixture_rates
from benchmark.metrics.modes import modes_covered, total_variation
from benchmark.running.measuring import measure_run
from tests.benchmark.metrics.problems import TwoModes

WEIGHTS = np.full(10, 0.1)


def test_dropped_modes_are_counted() -> None:
    assigned = np.repeat(np.arange(7), 100)
    estimate = modes_covered(assigned, WEIGHTS)
    assert (estimate.value, estimate.low, estimate.high) == (0.7, 0.7, 0.7)


def test_a_stray_sample_covers_no_mode() -> None:
    assigned = np.append(np.repeat(np.arange(9), 100), 9)
    estimate = modes_covered(assigned, WEIGHTS)
    assert (estimate.value, estimate.high) == (0.9, 0.9)


def test_few_samples_leave_coverage_open() -> None:
    estimate = modes_covered(np.repeat(np.arange(9), 3), WEIGHTS)
    assert estimate.value == 0.9 and estimate.high == 1.0


def test_total_variation_of_hard_assignments() -> None:
    posterior = np.eye(2)[np.r_[np.zeros(80, int), np.ones(20, int)]]
    estimate = total_variation(posterior, np.array([0.5, 0.5]), seed=0)
    assert estimate.value == pytest.approx(0.3)
    assert estimate.low == pytest.approx(0.3 - 1.96 * 0.04, abs=0.02)  # two modes: the binomial's own interval


def test_interval_of_total_variation_covers() -> None:
    rng, truth = np.random.default_rng(0), np.array([0.4, 0.3, 0.1, 0.1, 0.05, 0.05])
    weights = np.full(6, 1 / 6)
    exact = 0.5 * np.abs(truth - weights).sum()
    found = [total_variation(np.eye(6)[rng.choice(6, 300, p=truth)], weights, seed) for seed in range(200)]
    assert np.mean([e.low <= exact <= e.high for e in found]) >= 0.93


def test_note_gives_the_score_of_exact_weights() -> None:
    rng = np.random.default_rng(1)
    estimates = [total_variation(np.eye(10)[rng.integers(10, size=500)], WEIGHTS, 0) for _ in range(100)]
    floor = float(estimates[0].note.split("about ")[1].split()[0])
    assert np.mean([e.value for e in estimates]) == pytest.approx(floor, rel=0.05)


def test_mixture_rate_by_hand() -> None:
    posterior = torch.tensor([[0.8, 0.15, 0.05], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.34, 0.33, 0.33]])
    rates = mixture_rates(posterior, "by hand")
    assert list(rates) == [f"mmr@{lam:g}" for lam in LAMBDAS]
    assert [rates[f"mmr@{lam}"].value for lam in (0.1, 0.16, 0.3, 0.4)] == [0.75, 0.5, 0.5, 0.25]
    expected = binomtest(3, 4).proportion_ci(method="exact")
    assert (rates["mmr@0.1"].low, rates["mmr@0.1"].high) == pytest.approx((expected.low, expected.high))


def test_blends_of_two_modes_are_mixtures() -> None:
    problem = TwoModes()
    clean = problem.draw(400, 7)
    middle = clean.clone()
    middle[:100, 0] = 0
    assert measure_run(["mode_mixture"], clean, problem)["mmr@0.1"].value == 0
    assert measure_run(["mode_mixture"], middle, problem)["mmr@0.4"].value == 0.25
