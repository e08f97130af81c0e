import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu
from sklearn.neighbors import NearestNeighbors

from benchmark.metrics.data_copying import data_copying
from benchmark.metrics.estimation import neighbours
from benchmark.metrics.estimation.neighbours import nearest
from benchmark.metrics.novelty import distinct
from benchmark.running.measuring import measure_run
from tests.benchmark.metrics.problems import TwoModes


@pytest.mark.parametrize(("dim", "offset"), [(2, 0.0), (64, 100.0), (700, 0.0)])
def test_neighbours_are_sklearns(dim: int, offset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "SCORES", 3000)  # several batches
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(70, dim)) + offset, rng.normal(size=(300, dim)) + offset
    distances, index = nearest(torch.from_numpy(x), torch.from_numpy(y), 3)
    expected, expected_index = NearestNeighbors(n_neighbors=3, algorithm="brute").fit(y).kneighbors(x)
    np.testing.assert_allclose(distances, expected, rtol=1e-6)
    np.testing.assert_array_equal(index, expected_index)


def test_a_point_finds_itself_first() -> None:
    x = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    x[7] = x[3]
    distances, index = nearest(x, x, 2)
    assert (distances[:, 0] == 0).all() and set(index[3].tolist()) == {3, 7} and distances[3, 1] == 0
    expected = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(x).kneighbors(x)[0][:, 1]
    np.testing.assert_allclose(distances[:, 1], expected, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([1e-7, 1e-3, 1.0]))
def test_neighbours_are_exact_however_close_the_call(seed: int, spread: float) -> None:
    """Points within rounding of each other: float32 scores cannot rank them, the full search must."""
    rng = np.random.default_rng(seed)
    y = 1 + spread * rng.normal(size=(60, 8))
    x = 1 + spread * rng.normal(size=(5, 8))
    distances, _ = nearest(torch.from_numpy(x), torch.from_numpy(y), 2)
    direct = np.sort(np.sqrt(((x[:, None] - y) ** 2).sum(-1)), axis=1)[:, :2]
    np.testing.assert_allclose(distances, direct, rtol=1e-9)


def test_neighbours_of_bytes_are_exact() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 256, (500, 3, 8, 8), dtype=np.uint8)
    x = rng.integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
    x[0] = y[17]
    distances, index = nearest(torch.from_numpy(x), torch.from_numpy(y), 2)
    direct = ((x.reshape(40, 1, -1).astype(int) - y.reshape(1, 500, -1)) ** 2).sum(-1)
    np.testing.assert_array_equal((distances**2).round().long(), np.sort(direct, axis=1)[:, :2])
    assert distances[0, 0] == 0 and index[0, 0] == 17


def test_too_few_points_for_neighbours() -> None:
    with pytest.raises(ValueError, match="2 neighbours wanted of 1 points"):
        nearest(torch.zeros(3, 2), torch.zeros(1, 2), 2)


def test_data_copying_score_is_the_standardised_mann_whitney_statistic() -> None:
    rng = np.random.default_rng(0)
    s, t = rng.normal(size=80), rng.normal(0.4, 1, size=60)
    u = mannwhitneyu(s, t).statistic
    expected = (u - 80 * 60 / 2) / np.sqrt(80 * 60 * 141 / 12)
    one_cell = data_copying(s, t, np.zeros(80, int), np.zeros(60, int))
    assert one_cell.value == pytest.approx(expected, rel=1e-12)
    two_cells = data_copying(np.r_[s, s], np.r_[t, t], np.repeat([0, 1], 80), np.repeat([0, 1], 60))
    assert two_cells.value == pytest.approx(expected, rel=1e-12)
    assert two_cells.high - two_cells.value == pytest.approx((one_cell.high - one_cell.value) / 2**0.5)


def test_data_copying_interval_covers() -> None:
    rng, values, widths = np.random.default_rng(1), [], []
    for _ in range(400):
        e = data_copying(rng.normal(0.3, 1, 60), rng.normal(size=50), np.zeros(60, int), np.zeros(50, int))
        values.append(e.value)
        widths.append(e.high - e.value)
    assert 0.92 <= np.mean(np.abs(np.array(values) - np.mean(values)) <= widths) <= 0.98


def test_data_copying_without_a_filled_cell_is_not_a_number() -> None:
    estimate = data_copying(np.ones(3), np.ones(3), np.zeros(3, int), np.zeros(3, int))
    assert np.isnan(estimate.value) and "no cell" in estimate.note


def test_distinct_is_the_jackknife() -> None:
    values = np.array([1, 1, 2, 3, 4, 4, 4, 9])
    leave_one_out = [len(set(np.delete(values, i))) / 7 for i in range(8)]
    error = np.sqrt(7 / 8 * np.sum((np.array(leave_one_out) - np.mean(leave_one_out)) ** 2))
    estimate = distinct(values, "")
    assert estimate.value == 5 / 8
    assert estimate.high - estimate.value == pytest.approx(1.959964 * error)


def test_copies_are_found_and_new_samples_are_not() -> None:
    problem = TwoModes(dim=6, train=500, test=400)
    copies = problem.examples("train", 500)[torch.randint(100, (300,), generator=torch.Generator().manual_seed(0))]
    found = measure_run(["novelty"], copies + 1e-4 * torch.randn(300, 6), problem)
    assert found["copy_share"].value == 1 and found["authenticity"].value == 0 and found["ct"].high < -5
    assert found["nn_ratio"].value < 0.01 and found["distinct_neighbours"].value <= 1 / 3
    new = measure_run(["novelty"], problem.draw(300, 77), problem)
    assert new["copy_share"].low <= 0.01 <= new["copy_share"].high
    assert new["ct"].low <= 0 <= new["ct"].high
    assert new["nn_ratio"].value > 0.7 and new["distinct_neighbours"].value > 0.4


def test_identical_samples_have_one_neighbour() -> None:
    problem = TwoModes()
    found = measure_run(["novelty"], problem.draw(1, 5).repeat(100, 1), problem)
    assert found["distinct_neighbours"].value == 0.01
