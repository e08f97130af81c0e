import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from benchmark.metrics.estimation.debiased import Array, SplitReference, Transport, debiased_cost
from benchmark.metrics.sliced_w2 import directions, sorted_transport
from benchmark.metrics.w2 import network_simplex, squared_distances
from benchmark.running.measuring import measure_run
from tests.benchmark.metrics.problems import TwoModes

RNG = np.random.default_rng(0)


def sliced(x: Array, y: Array) -> tuple[float, Array, Array]:
    return sorted_transport(x, y, directions(x.shape[1]))


def test_distances_match_scipy() -> None:
    x, y = 100 + RNG.normal(size=(30, 5)), 100 + RNG.normal(size=(40, 5))
    np.testing.assert_allclose(squared_distances(x, y), cdist(x, y, "sqeuclidean"), rtol=1e-10)


@pytest.mark.parametrize("dim", [1, 2, 64])
def test_exact_cost_is_the_best_assignment(dim: int) -> None:
    x, y = RNG.normal(size=(150, dim)), RNG.normal(0.3, 2, size=(150, dim))
    rows, columns = linear_sum_assignment(cost := cdist(x, y, "sqeuclidean"))
    value, u, v = network_simplex(x, y)
    assert value == pytest.approx(cost[rows, columns].mean(), rel=1e-10)
    assert u.mean() + v.mean() == pytest.approx(value, rel=1e-9)  # the potentials are dual optimal
    assert (u[:, None] + v <= cost + 1e-9).all()


def test_sliced_cost_is_pots() -> None:
    x, y = RNG.normal(size=(200, 7)), RNG.normal(1, 2, size=(200, 7))
    theta = directions(7)
    expected = ot.sliced_wasserstein_distance(x, y, projections=theta)
    assert sorted_transport(x, y, theta)[0] ** 0.5 == pytest.approx(expected, rel=1e-10)


def test_sliced_potentials_are_dual_feasible_and_optimal_on_a_line() -> None:
    x, y = RNG.normal(size=(80, 1)), RNG.normal(0.5, 3, size=(80, 1))
    value, u, v = sorted_transport(x, y, np.ones((1, 1)))
    slack = (x - y.T) ** 2 - u[:, None] - v  # potentials are up to a constant: the least slack must be at the plan
    plan = slack[x[:, 0].argsort(), y[:, 0].argsort()]
    assert plan.max() - plan.min() < 0.2 * value  # exact for a continuum, trapezoidal rule for 80 points
    assert slack.min() > plan.min() - 0.1 * value


@pytest.mark.parametrize(("transport", "dim"), [(network_simplex, 2), (network_simplex, 24), (sliced, 6)])
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_unbiased_for_equal_laws_and_for_shifts_where_the_plain_estimate_is_not(
    transport: Transport, dim: int, shift: float
) -> None:
    rng, n = np.random.default_rng(1), 40
    delta = np.eye(dim)[0] * shift
    truth = shift**2 if transport is network_simplex else shift**2 / dim  # mean over directions of <δ, θ>²
    values, errors, plain = [], [], []
    for _ in range(200):
        x, y = rng.normal(size=(2 * n, dim)), rng.normal(size=(2 * n, dim)) + delta
        value, error = debiased_cost(x, SplitReference.of(y, transport), transport)
        values.append(value)
        errors.append(error)
        plain.append(transport(x[:n], y[:n])[0])
    spread = np.std(values, ddof=1)
    assert abs(np.mean(values) - truth) < 3 * spread / len(values) ** 0.5 + 0.1 * truth * (transport is sliced)
    assert np.mean(plain) - truth > 3 * np.std(plain) / len(plain) ** 0.5
    covered = np.mean(np.abs(np.array(values) - truth) <= 1.96 * np.array(errors))
    assert covered >= 0.92  # 95% and conservative; simulation error 0.015
    assert np.mean(errors) < 2.5 * spread  # and not uselessly wide


def test_known_distance_between_gaussians() -> None:
    """W2² of N(0, I) and N(m, s² I) is |m|² + d (s − 1)²; at this n the remaining bias is below a tenth."""
    rng, truth = np.random.default_rng(2), 1.0 + 2 * 0.5**2
    values = []
    for _ in range(20):
        x, y = rng.normal(size=(600, 2)), 1.5 * rng.normal(size=(600, 2)) + [1, 0]
        values.append(debiased_cost(x, SplitReference.of(y, network_simplex), network_simplex)[0])
    assert np.mean(values) == pytest.approx(truth, rel=0.1)


def test_a_point_mass_is_underestimated_by_half_the_references_bias() -> None:
    """The documented limit of the debiasing: E V = W2² − ½ E W2²(Q_n, Q_n')."""
    rng, point = np.random.default_rng(3), np.zeros((100, 3))
    values, within = [], []
    for _ in range(100):
        split = SplitReference.of(rng.normal(size=(100, 3)), network_simplex)
        values.append(debiased_cost(point, split, network_simplex)[0])
        within.append(split.within[0])
    assert np.mean(values) == pytest.approx(3 - np.mean(within) / 2, abs=0.08)


def test_measured_distance_of_a_problem() -> None:
    problem = TwoModes(dim=3)
    right, moved = problem.draw(1000, 5), problem.draw(1000, 5)
    moved[:, 1] += 1
    same = measure_run(["w2", "sliced_w2"], right, problem)
    off = measure_run(["w2", "sliced_w2"], moved, problem)
    for name, truth in {"w2_squared": 1.0, "sliced_w2_squared": 1 / 3}.items():
        assert same[name].low <= 0 <= same[name].high
        assert off[name].low <= truth <= off[name].high and off[name].low > 0
        root = off[name.removesuffix("_squared")]
        assert root.value**2 == pytest.approx(off[name].value)
    assert off["w2"].count == 800
