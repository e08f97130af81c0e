"""The certificate keeps its word: coverage near and far from the null, small and large N, unequal masses."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import beta

from dpmot import Certificate, SemiDiscreteProblem, certify, solve
from dpmot.certificate import from_counts, tiny
from dpmot.scores.cells import Cells
from dpmot.solving.attempts import Attempts
from dpmot.solving.solver import Solver

GENERATOR = torch.Generator().manual_seed(0)


def laws():
    """(name, true masses p, prescribed masses ν, samples)."""
    flat = torch.full((200,), 1 / 200, dtype=torch.float64)
    tilt = flat * torch.linspace(0.7, 1.3, 200, dtype=torch.float64)
    heavy = torch.softmax(1.5 * torch.randn(200, generator=GENERATOR, dtype=torch.float64), 0)
    few = torch.zeros(200, dtype=torch.float64)
    few[:5] = torch.tensor([0.5, 0.3, 0.1, 0.05, 0.05])
    pair = torch.tensor([0.45, 0.55], dtype=torch.float64)
    return [
        ("null", flat, flat, 4000),
        ("tilted", tilt, flat, 20_000),
        ("heavy-tailed", heavy, flat, 4000),
        ("mostly empty", few, flat, 2000),
        ("unequal masses", flat, heavy, 20_000),
        ("null of unequal masses", heavy, heavy, 20_000),
        ("two cells", pair, torch.full((2,), 0.5, dtype=torch.float64), 500),
        ("fewer samples than cells", tilt, flat, 150),
        ("tiny cells", crumbs(0.45, 4e-6), crumbs(0.5, 1e-9), 10_000),
        ("tiny cells, too large", crumbs(0.5, 4e-5), crumbs(0.5, 1e-6), 10_000),
    ]


def crumbs(first, each):
    """Two large cells and 300 tiny ones."""
    return torch.tensor([first, 1 - first - 300 * each, *[each] * 300], dtype=torch.float64)


def chi2_of(p, nu, samples):
    """Of the cells that are not tiny, the others joined to the largest, by hand."""
    large = [j for j in range(len(p)) if nu[j] * samples >= 1 or nu[j] * len(p) >= 0.1]
    big = max(large, key=lambda j: nu[j])
    rest = [1 - sum(float(law[j]) for j in large if j != big) for law in (p, nu)]
    return sum(float((p[j] - nu[j]) ** 2 / nu[j]) for j in large if j != big) + (rest[0] - rest[1]) ** 2 / rest[1]


@pytest.mark.parametrize(("name", "p", "nu", "samples"), laws(), ids=[law[0] for law in laws()])
def test_coverage(name, p, nu, samples):
    trials, error = 400, 0.05
    chi2, tv = chi2_of(p, nu, samples), 0.5 * float((p - nu).abs().sum())
    draws = torch.distributions.Multinomial(samples, p)
    torch.manual_seed(1)
    found = [from_counts(draws.sample(), nu, error) for _ in range(trials)]
    missed = sum(not c.chi2_interval[0] - 1e-12 <= chi2 <= c.chi2_interval[1] for c in found)
    # Binomial: 400 trials at 5% miss 20 ± 4.4; 38 would be four deviations too many.
    assert missed <= 38, f"χ² missed {missed} of {trials}"
    assert sum(c.tv_bound < tv for c in found) <= 38
    ratios = p / nu
    outside = sum(
        not c.worst_cell.ratio_interval[0] <= ratios[c.worst_cell.index] <= c.worst_cell.ratio_interval[1]
        for c in found
    )
    assert outside <= 38
    mean = sum(c.chi2 for c in found) / trials
    spread = math.sqrt(sum((c.chi2 - mean) ** 2 for c in found) / trials / trials)
    assert abs(mean - chi2) < 4.5 * spread + 1e-12, "χ² is estimated with a bias"


def test_tiny_cells_cost_little_and_others_nothing():
    prescribed, counts = crumbs(0.5, 1e-9), torch.tensor([5000, 5000, *[0] * 300])
    found, pair = from_counts(counts, prescribed), from_counts(counts[:2], torch.full((2,), 0.5))
    assert 0 < found.tv_bound - pair.tv_bound < 8e-4 and abs(found.chi2 - pair.chi2) < 1e-5  # no hits: log(1/α)/M
    flat = torch.full((200,), 1 / 200, dtype=torch.float64)
    counts = torch.distributions.Multinomial(40, flat).sample()
    chi2 = float((counts * (counts - 1)).sum()) * 200 / (40 * 39) - 1
    assert not tiny(flat, 40).any() and abs(from_counts(counts, flat).chi2 - chi2) < 1e-9


def test_tiny_targets_do_not_keep_a_solve_from_its_goal():
    """Half of the cells have masses that 20 samples a cell would not tell from nothing."""
    masses = torch.cat([torch.full((100,), 1e-4), torch.full((100,), 99e-4)]).double()
    problem = SemiDiscreteProblem(torch.randn(200, 12, generator=torch.Generator().manual_seed(1)), masses=masses)
    solution = solve(problem, tv=0.1)
    assert solution.converged and not tiny(masses, solution.certificate.samples).any()


def test_interval_is_not_idle():
    """Near the null its width is a few of the known standard error √(2N)/M."""
    n, samples = 1000, 100_000
    counts = torch.distributions.Multinomial(samples, torch.full((n,), 1 / n)).sample()
    low, high = from_counts(counts, torch.full((n,), 1 / n), 0.01).chi2_interval
    assert low < 2 * math.sqrt(2 * n) / samples and 0 < high < 6 * math.sqrt(2 * n) / samples


def test_fresh_samples_expose_what_in_sample_figures_hide():
    """Heights fitted on one fixed sample look perfect there and are not."""
    problem = SemiDiscreteProblem(torch.randn(100, 30, generator=GENERATOR))
    x = torch.randn(1000, 30, generator=GENERATOR)
    heights = torch.zeros(100)
    for step in range(400):
        counts = (x @ problem.targets.T + heights).argmax(1).bincount(minlength=100)
        heights -= 0.5 / (1 + step / 40) * (counts / 10 - 1)
    in_sample = 0.5 * (counts / 1000 - 0.01).abs().sum()
    fresh = certify(problem, heights, 50_000)
    assert fresh.tv > 2 * in_sample and fresh.chi2_interval[0] > 0


def test_certificate_depends_on_its_seed_and_round_trips():
    problem = SemiDiscreteProblem(torch.randn(50, 10, generator=GENERATOR))
    heights = solve(problem, tv=0.1).heights
    first, again, other = (certify(problem, heights, 5000, seed) for seed in (1, 1, 2))
    assert first == again and first != other
    assert Certificate.from_dict(first.to_dict()) == first


def test_empty_cells_are_counted():
    problem = SemiDiscreteProblem(torch.randn(50, 10, generator=GENERATOR))
    heights = torch.zeros(50)
    heights[7] = -1e3
    found, open_again = certify(problem, heights, 50_000), certify(problem, torch.zeros(50), 50_000)
    assert found.empty_cells == open_again.empty_cells + 1 and found.tv_bound >= 1 / 50


def test_cells_missed_by_chance_are_as_many_as_said():
    masses = torch.cat([torch.full((300,), 1 / 600), torch.full((30,), 1 / 60)]).double()
    torch.manual_seed(0)
    law = torch.distributions.Multinomial(900, masses)
    found = [from_counts(law.sample(), masses) for _ in range(300)]
    spread = 3 * np.std([one.empty_cells for one in found]) / 300**0.5
    assert abs(np.mean([one.empty_cells for one in found]) - found[0].missed_by_chance) < spread
    assert "by chance)" in str(found[0])
    assert "by chance)" not in str(from_counts(torch.full((50,), 100), torch.full((50,), 0.02)))
    for tv in (0.5, 0.1, 0.01):  # what a solve's certificate misses by chance is a small part of what it allows
        equal = torch.full((50_000,), 1 / 50_000).double()
        samples = Attempts(tv, 0.99, equal).samples(1)
        assert (1 - 1 / 50_000) ** samples <= 0.1 * tv


def test_repeated_certificates_share_the_error_probability():
    problem = SemiDiscreteProblem(torch.randn(300, 10, generator=GENERATOR))
    solution = solve(problem, tv=0.04, confidence=0.95)
    spent = sum(1 - entry["confidence"] for entry in solution.history)
    assert spent < 0.05 and solution.certificate.confidence > 0.95


def test_a_narrow_failure_is_looked_at_with_twice_the_samples(monkeypatch):
    for name, value in (("descent.GOAL", {"independent": 0.2}), ("attempts.WIDTH", 0.9), ("attempts.MISSED", 1)):
        monkeypatch.setattr(f"dpmot.solving.{name}", value)  # good heights, and first looks too short to tell
    problem = SemiDiscreteProblem(torch.randn(400, 60, generator=torch.Generator().manual_seed(3)))  # such a case
    solution = solve(problem, tv=0.03)
    first, last = solution.history[-2:]
    assert solution.converged and first["tv_bound"] > 0.03
    assert last["samples"] == first["samples"]  # of the descent: the heights are the same
    assert solution.certificate.samples == first["certificate_samples"] + last["certificate_samples"]
    assert certify(problem, solution.heights, 2_000_000, seed=5).tv_bound < 0.03


def test_the_smallest_error_probabilities_have_limits_too():
    counts = torch.distributions.Multinomial(10_000, torch.full((100,), 0.01)).sample()
    errors = (1e-2, 1e-8, 2e-16, 1e-30, 1e-66)
    found = [from_counts(counts, torch.full((100,), 0.01), error) for error in errors]
    bounds = [certificate.tv_bound for certificate in found]
    assert bounds == sorted(set(bounds)) and bounds[-1] < 1
    for error, certificate in zip(errors, found, strict=True):
        hits = round(100 * certificate.worst_cell.ratio)
        low, high = (limit / 100 for limit in certificate.worst_cell.ratio_interval)
        tails = beta.cdf(low, hits, 10_001 - hits), beta.sf(high, hits + 1, 10_000 - hits)
        assert np.allclose(np.divide(tails, error / 200), 1, rtol=1e-3)  # 100 cells, two sides


def test_attempts_never_run_out_of_error_probability():
    problem = SemiDiscreteProblem(torch.randn(30, 10, generator=GENERATOR))
    attempts = Attempts(0.2, 0.999999, problem.weights)
    for attempt in range(1, 61):
        samples, again = attempts.samples(attempt), from_counts(torch.full((30,), 1000), problem.weights)
        errors = attempts.error(attempt, again=False), attempts.error(attempt, again=True)
        assert errors[0] > errors[1] > 0 and 600 <= samples < 1_000_000 and attempts.narrow(again, attempt)
    solver = Solver.of(Cells.of(problem), attempts, seed=0, subspace=0)
    state = solver.trial.begin(None)
    state.attempt = 59
    solution = solver.run(state)
    assert solution.converged and certify(problem, solution.heights, 50_000, seed=1).tv_bound < 0.2


def test_bad_input():
    problem = SemiDiscreteProblem(torch.zeros(3, 2))
    for options, message in (({"samples": 1}, "at least 2"), ({"confidence": 2}, "confidence")):
        with pytest.raises(ValueError, match=message):
            certify(problem, torch.zeros(3), **options)
