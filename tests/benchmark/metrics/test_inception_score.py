import pytest
import torch

from benchmark.metrics.inception_score import inception_score


def test_torch_fidelity() -> None:
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

    logits = 3 * torch.randn(1234, 10, generator=torch.Generator().manual_seed(0))
    assert inception_score(logits).value == pytest.approx(
        isc_features_to_metric(logits)[KEY_METRIC_ISC_MEAN], rel=1e-12
    )


def test_extremes() -> None:
    """Sure and even over C classes: C. The same prediction for all: 1."""
    sure = 200 * torch.eye(8).repeat(500, 1)
    assert inception_score(sure).value == pytest.approx(8, rel=0.02)
    assert inception_score(torch.ones(500, 8)).value == pytest.approx(1, abs=1e-9)


def test_interval_holds_the_value() -> None:
    estimate = inception_score(torch.randn(500, 10, generator=torch.Generator().manual_seed(0)))
    assert estimate.low < estimate.value < estimate.high
