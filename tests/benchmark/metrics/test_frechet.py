import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from benchmark import metrics
from benchmark.metrics.estimation.gaussian import Gaussian
from benchmark.metrics.frechet import bias, frechet_distance, frechet_estimate, influence
from benchmark.running.measuring import measure_run
from tests.benchmark.metrics.problems import TwoModes


def gaussian(dim: int, seed: int) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    return Gaussian(torch.randn(dim, generator=generator, dtype=torch.float64), a @ a.T / dim, 1000)


def test_closed_form_of_commuting_gaussians() -> None:
    a = Gaussian(torch.zeros(3).double(), torch.diag(torch.tensor([1.0, 4.0, 9.0]).double()), 10)
    b = Gaussian(torch.tensor([1.0, 2.0, 2.0]).double(), torch.diag(torch.tensor([4.0, 4.0, 0.0]).double()), 10)
    assert frechet_distance(a, b) == pytest.approx(9 + 1 + 0 + 9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)


def test_formula_with_scipys_square_root() -> None:
    a, b = gaussian(40, 0), gaussian(40, 1)
    cross = np.trace(sqrtm(a.cov.numpy() @ b.cov.numpy())).real
    expected = float((a.mean - b.mean).square().sum() + a.cov.trace() + b.cov.trace()) - 2 * cross
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_moments_are_numpys() -> None:
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    fitted = Gaussian.fit(torch.from_numpy(x))
    np.testing.assert_allclose(fitted.cov, np.cov(x.astype(float), rowvar=False), rtol=1e-10)
    np.testing.assert_allclose(fitted.mean, x.astype(float).mean(0), rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_influence_is_the_derivative(scale: float) -> None:
    """Leaving out sample i moves FD by −ψ_i / (S − 1), up to second order."""
    x = scale * torch.randn(400, 5, generator=torch.Generator().manual_seed(0)).double() + 0.2
    b = gaussian(5, 3)
    whole = Gaussian.fit(x)
    psi = influence(x, whole, b)
    for i in range(5):
        without = Gaussian.fit(torch.cat([x[:i], x[i + 1 :]]))
        change = frechet_distance(without, b) - frechet_distance(whole, b)
        assert change == pytest.approx(-float(psi[i]) / 399, abs=0.02 * float(psi.std()) / 399 + 5e-5)


def test_interval_covers_the_expectation_and_is_near_the_truth_in_width() -> None:
    b, values, errors = Gaussian(torch.zeros(4).double(), torch.eye(4).double(), 10**6), [], []
    for seed in range(200):
        x = torch.randn(300, 4, generator=torch.Generator().manual_seed(seed)).double() * 1.2 + 0.3
        estimate = frechet_estimate(x, b, "")
        values.append(estimate.value)
        errors.append((estimate.high - estimate.value) / 1.96)
    spread = np.std(values, ddof=1)
    assert 0.9 < np.mean(errors) / spread < 1.3
    assert np.mean(np.abs(np.array(values) - np.mean(values)) < 1.96 * np.array(errors)) >= 0.92


def test_bias_estimate_against_the_truth() -> None:
    """Equal laws: FD itself is 0, so its mean is the bias."""
    b, values, biases = Gaussian(torch.zeros(8).double(), torch.eye(8).double(), 10**6), [], []
    for seed in range(100):
        x = torch.randn(400, 8, generator=torch.Generator().manual_seed(seed)).double()
        values.append(frechet_distance(Gaussian.fit(x), b))
        biases.append(bias(x, values[-1], b))
    assert np.mean(biases) == pytest.approx(np.mean(values), rel=0.1)


def test_measured_with_the_problems_features() -> None:
    problem = TwoModes(dim=4)
    moved = problem.draw(800, 8) + 1
    estimate = measure_run(["fd"], moved, problem)["fd"]
    assert estimate.low <= 4.0 <= estimate.high and "the points themselves" in estimate.note


def test_needs_features() -> None:
    problem = TwoModes(feature_name="")
    with pytest.raises(metrics.MetricError, match="needs features"):
        measure_run(["fd"], problem.draw(50, 0), problem)


def test_torch_fidelity_and_clean_fid_on_the_same_features() -> None:
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    x, y = (torch.randn(500, 30, generator=torch.Generator().manual_seed(s)) * (1 + s) for s in (0, 1))
    ours = frechet_distance(Gaussian.fit(x), Gaussian.fit(y))
    theirs = [fid_features_to_statistics(f.double()) for f in (x, y)]
    assert ours == pytest.approx(fid_statistics_to_metric(*theirs, verbose=False)[KEY_METRIC_FID], rel=1e-9)
    fid = pytest.importorskip("cleanfid.fid")
    try:
        expected = fid.frechet_distance(theirs[0]["mu"], theirs[0]["sigma"], theirs[1]["mu"], theirs[1]["sigma"])
    except TypeError as error:
        pytest.skip(f"clean-fid does not work with this SciPy: {error}")
    assert ours == pytest.approx(expected, rel=1e-7)
