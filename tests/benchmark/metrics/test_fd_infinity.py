import numpy as np
import pytest
import torch

from benchmark.metrics.base import MetricError
from benchmark.metrics.estimation.gaussian import Gaussian
from benchmark.metrics.fd_infinity import fd_infinity
from benchmark.metrics.frechet import frechet_distance, paired_difference

DIM = 12
UNIT = Gaussian(torch.zeros(DIM).double(), torch.eye(DIM).double(), 10**9)


def draw(seed: int, count: int = 600) -> torch.Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))


def test_extrapolation_removes_the_bias() -> None:
    plain = np.array([frechet_distance(Gaussian.fit(draw(s)), UNIT) for s in range(30)])
    limit = np.array([fd_infinity(draw(s), UNIT, seed=s).value for s in range(30)])
    # The truth is 0; to second order E FD = (D + D(D + 1)/4)/S, from the mean and from the covariance.
    assert plain.mean() == pytest.approx((DIM + DIM * (DIM + 1) / 4) / 600, rel=0.1)
    assert abs(limit.mean()) < 4 * limit.std() / 30**0.5 + 0.05 * plain.mean()


def test_paired_difference_is_sharper_than_two_intervals() -> None:
    """The same noise through two slightly different samplers: the difference is known, its interval narrow."""
    found, spread = [], []
    for s in range(100):
        z = draw(s)
        estimate = paired_difference(1.3 * z, 1.2 * z, UNIT)
        found.append(estimate)
        spread.append(estimate.value)
    truth = np.mean(spread)  # the expectation at this sample count
    assert truth == pytest.approx(DIM * (0.3**2 - 0.2**2), rel=0.15)
    assert np.mean([e.low <= truth <= e.high for e in found]) >= 0.9
    unpaired = paired_difference(1.3 * draw(1), 1.2 * draw(2), UNIT)
    assert found[0].high - found[0].low < 0.5 * (unpaired.high - unpaired.low)


def test_pairs_must_match() -> None:
    with pytest.raises(MetricError, match="equally many samples, got 600 and 500"):
        paired_difference(draw(0), draw(1, 500), UNIT)
