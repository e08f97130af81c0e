import numpy as np
import pytest
from scipy.stats import binom, binomtest

from benchmark.metrics.estimation.intervals import clopper_pearson, median, share


@pytest.mark.parametrize("successes", [0, 1, 17, 99, 100])
def test_clopper_pearson_is_scipys_exact_interval(successes: int) -> None:
    expected = binomtest(successes, 100).proportion_ci(method="exact")
    low, high = clopper_pearson(successes, 100)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("truth", [0.003, 0.1, 0.5])
def test_clopper_pearson_covers_at_least_its_level(truth: float) -> None:
    k = np.arange(201)
    low, high = clopper_pearson(k, 200)
    assert binom.pmf(k, 200, truth)[(low <= truth) & (truth <= high)].sum() >= 0.95


def test_share_of_flags() -> None:
    estimate = share([True, False, False, False])
    assert (estimate.value, estimate.count) == (0.25, 4)


@pytest.mark.parametrize("count", [20, 101])
def test_median_interval_covers(count: int) -> None:
    draws = np.random.default_rng(0).exponential(size=(2000, count))
    found = [median(x) for x in draws]
    covered = np.mean([e.low <= np.log(2) <= e.high for e in found])
    assert 0.94 <= covered <= 0.99  # exact level >= 0.95, simulation error 0.005
    assert found[0].value == np.median(draws[0])


def test_median_of_too_few_has_no_interval() -> None:
    assert median([1.0, 2.0, 3.0]).low is None
