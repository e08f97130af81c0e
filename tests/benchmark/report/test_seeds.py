"""Statistics against SciPy and against their own definition by simulation."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmark.report.seeds import equivalence, holm, mean_interval, no_gain, paired, two_sided


def test_interval_is_students() -> None:
    x = np.random.default_rng(0).standard_normal(7)
    low, high = stats.t.interval(0.95, 6, loc=x.mean(), scale=stats.sem(x))
    found = mean_interval(x)
    assert (found.mean, found.low, found.high, found.count) == pytest.approx((x.mean(), low, high, 7))


def test_interval_needs_two_seeds() -> None:
    assert mean_interval([]).count == 0
    one = mean_interval([3.0])
    assert one.mean == 3.0 and math.isnan(one.low)
    assert mean_interval([1.0, math.nan, 3.0]).count == 2


def test_tests_are_scipys() -> None:
    x = np.random.default_rng(1).standard_normal(6) + 0.4
    assert two_sided(x, 0.2) == pytest.approx(stats.ttest_1samp(x, 0.2).pvalue)
    lower = stats.ttest_1samp(x, -1.5, alternative="greater").pvalue
    upper = stats.ttest_1samp(x, 1.5, alternative="less").pvalue
    assert equivalence(x, 1.5) == pytest.approx(max(lower, upper))
    assert no_gain(x, 1.5) == pytest.approx(lower)


def test_constant_differences_are_exact_knowledge() -> None:
    zero, one = np.zeros(4), np.ones(4)
    assert two_sided(zero) == 1 and two_sided(one) == 0
    assert equivalence(zero, 0.1) == 0 and equivalence(one, 0.1) == 1
    assert equivalence(one, 1.0) == 0.5  # on the edge of the margin: not equivalent
    assert math.isnan(two_sided(np.ones(1))) and math.isnan(equivalence(np.ones(1), 1))


def test_holm_by_its_definition() -> None:
    ps = [0.01, 0.04, math.nan, 0.03, 0.005]
    found = holm(ps)
    assert math.isnan(found[2])
    # 0.005·4, 0.01·3, then 0.03·2, then 0.04·1 raised to its predecessor
    assert [found[i] for i in (4, 0, 3, 1)] == pytest.approx([0.02, 0.03, 0.06, 0.06])
    assert holm([]) == []


def test_holm_keeps_the_family_wise_error() -> None:
    rng = np.random.default_rng(2)
    wrong = [min(holm([two_sided(x) for x in rng.standard_normal((10, 5))])) < 0.05 for _ in range(400)]
    assert np.mean(wrong) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


def test_pairing_is_by_seed() -> None:
    first, second = pd.Series({0: 1.0, 1: 2.0, 3: 5.0}), pd.Series({3: 1.0, 1: 2.0, 2: 9.0})
    assert paired(first, second).tolist() == [0.0, 4.0]
    assert paired(first, second, 0.5).tolist() == [1.0, 4.5]
