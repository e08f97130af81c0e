import numpy as np
import pytest
import torch

from benchmark.metrics.kid import KernelSums, kernel_distance, kernel_distance_subsets


def features(count: int, dim: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)) + shift


def test_all_pairs_is_the_unbiased_statistic_by_hand() -> None:
    x, y = features(30, 4, 0).double().numpy(), features(20, 4, 1, 0.5).double().numpy()

    def k(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / 4 + 1) ** 3

    xx, yy = k(x, x), k(y, y)
    expected = (xx.sum() - np.trace(xx)) / (30 * 29) + (yy.sum() - np.trace(yy)) / (20 * 19) - 2 * k(x, y).mean()
    found = kernel_distance(KernelSums.of(torch.from_numpy(x)), KernelSums.of(torch.from_numpy(y)))
    assert found.value == pytest.approx(expected, rel=1e-10)


def test_subsets_are_torch_fidelitys() -> None:
    from torch_fidelity.metric_kid import kid_features_to_metric

    x, y = features(300, 16, 0), features(250, 16, 1, 0.3)
    theirs = kid_features_to_metric(x.double(), y.double(), kid_subsets=5, kid_subset_size=100, verbose=False)
    ours = kernel_distance_subsets(x, y, subsets=5, size=100)
    assert ours.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_unbiased_with_an_interval_that_covers(shift: float) -> None:
    big = features(4000, 6, 999, shift)
    truth = kernel_distance(KernelSums.of(features(4000, 6, 998)), KernelSums.of(big)).value if shift else 0.0
    found = [
        kernel_distance(KernelSums.of(features(150, 6, s)), KernelSums.of(features(150, 6, 500 + s, shift)))
        for s in range(150)
    ]
    values = np.array([e.value for e in found])
    assert abs(values.mean() - truth) < 4 * values.std() / len(values) ** 0.5 + 0.1 * truth
    assert np.mean([e.low <= values.mean() <= e.high for e in found]) >= 0.9
