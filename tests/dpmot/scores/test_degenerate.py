"""Degenerate input: the right answer or one line that says what is wrong."""

import numpy as np
import pytest
import torch

from dpmot import Gaussian, HardMap, SemiDiscreteProblem, SoftmaxMap, solve
from dpmot.scores.cells import Cells
from dpmot.scores.operands import _cholesky


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_running_out_of_samples_is_said():
    solution = solve(SemiDiscreteProblem(normal(500, 16)), tv=0.01, max_samples=20_000)
    assert not solution.converged and solution.certificate.tv_bound > 0.01 and "NOT converged" in str(solution)


@pytest.mark.parametrize(
    "targets",
    [
        torch.zeros(1, 3),
        torch.ones(5, 3),
        torch.ones(20, 3),  # whose masses, all that of one cell, add up to a little more than 1
        torch.tensor([[0.0, 0], [0, 0], [1, 1], [1, 1], [1, 1]]),
    ],
    ids=["one", "all-equal", "more-equal", "duplicates"],
)
def test_degenerate_targets(targets):
    problem = SemiDiscreteProblem(targets)
    solution = solve(problem, tv=0.05)
    assert solution.converged
    y = HardMap(problem, solution.heights)(normal(20_000, targets.shape[1]))
    for point in targets.unique(dim=0):
        share = (targets == point).all(1).double().mean()
        assert abs((y == point).all(1).double().mean() - share) < 0.05


def test_numbers_of_other_types_and_tensors_with_gradients_are_taken(tmp_path):
    problem = SemiDiscreteProblem(normal(20, 3).requires_grad_())
    expected = solve(problem, tv=0.1, seed=3, max_samples=10**6)
    path = tmp_path / "state.safetensors"
    found = solve(problem, tv=np.float64(0.1), seed=np.int64(3), max_samples=1e6, checkpoint=path)
    assert torch.equal(found.heights, expected.heights)
    heights = expected.heights.requires_grad_()
    assert not HardMap(problem, heights)(normal(5, 3)).requires_grad


def test_whole_numbers_stay_apart():
    for numbers, dtype in (([[3], [4]], torch.float32), ([[2**24], [2**24 + 1]], torch.float64)):
        assert SemiDiscreteProblem(torch.tensor(numbers)).targets.dtype == dtype
        assert Cells.of(SemiDiscreteProblem(torch.tensor(numbers))).num == 2


@pytest.mark.parametrize("constant", [1e6, -1e12])
def test_a_constant_beside_the_heights_changes_nothing(constant):
    problem, heights, z = SemiDiscreteProblem(normal(40, 20)), normal(40, seed=1).double(), normal(2000, 20, seed=2)
    for build in (HardMap, SoftmaxMap):
        near = torch.isclose(build(problem, heights + constant)(z), build(problem, heights)(z), atol=1e-2)
        assert near.all(dim=1).double().mean() > 0.998, "the constant costs digits in float64 too"


@pytest.mark.parametrize("masses", [None, torch.tensor([0.1, 0.2, 0.3, 0.4])])
def test_one_dimension_is_solved_in_closed_form(masses):
    targets = torch.tensor([[0.0], [100.0], [0.01], [3.0]])
    solution = solve(SemiDiscreteProblem(targets, masses=masses), tv=0.02)
    assert solution.converged and solution.samples == 0 and solution.certificate.empty_cells == 0
    shares = torch.full((4,), 0.25) if masses is None else masses
    order = targets[:, 0].argsort()
    ends = torch.special.ndtri(shares[order].double().cumsum(0)[:-1])
    y, h = targets[order, 0].double(), solution.heights[order].double()
    assert torch.allclose((h[:-1] - h[1:]) / (y[1:] - y[:-1]), ends, atol=2e-3), "where neighbours' scores are equal"


def test_equal_targets_of_any_number_are_one_cell():
    for n in range(1, 200):
        assert Cells.of(SemiDiscreteProblem(torch.ones(n, 2))).masses.tolist() == [1.0]


@pytest.mark.parametrize("device", ["tpu9000", "cuda:99", 1.5])
def test_a_device_that_is_not_here_gets_one_line(device):
    with pytest.raises(ValueError, match=f"can't work on device '{device}'") as error:
        solve(SemiDiscreteProblem(normal(5, 3)), device=device)
    assert "\n" not in str(error.value)


def test_a_state_that_cannot_be_kept_is_said(tmp_path):
    with pytest.raises(OSError, match=r"can't write .*nowhere.*No such file") as error:
        solve(SemiDiscreteProblem(normal(50, 3)), checkpoint=tmp_path / "nowhere" / "state.safetensors")
    assert "\n" not in str(error.value)


def test_rounding_merges_no_targets():
    """Far clusters: in half precision several targets round to one, which would be certified without them."""
    problem = SemiDiscreteProblem(0.01 * normal(100, 2) + torch.tensor([30.0, -30.0]).repeat(50)[:, None])
    for narrow in ("fp16", "bf16", "tf32"):
        with pytest.raises(ValueError, match=f"{narrow} rounds .* of 100 distinct targets .*'fp32'") as error:
            solve(problem, precision=narrow)
        assert "\n" not in str(error.value)
    assert solve(problem, max_samples=100).heights.unique().numel() > 90
    close = SemiDiscreteProblem(
        torch.tensor([[0.0], [1e-12], [8.0], [8.0]]) - 4e-12
    )  # apart by less than float32 tells
    cells = Cells.of(close)
    assert cells.precision == "fp64" and cells.num == 3 and cells.masses.tolist() == [0.25, 0.25, 0.5]
    with pytest.raises(ValueError, match="fp32 rounds 1 of 3"):
        Cells.of(close, precision="fp32")


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_extreme_units_change_nothing(size):
    targets = normal(40, 20)
    base, scaled = (solve(SemiDiscreteProblem(y), tv=0.1) for y in (targets, targets * size))
    assert scaled.converged and torch.allclose(scaled.heights / size, base.heights, atol=0.1)


def test_an_outlier_and_a_tiny_mass_are_solved():
    targets = normal(50, 20)
    targets[7] *= 1e4
    problem = SemiDiscreteProblem(targets)
    assert solve(problem).converged
    with pytest.raises(ValueError, match="too wide"):
        solve(SemiDiscreteProblem(torch.cat([1e-4 * targets, torch.full((1, 20), 3e38), torch.full((1, 20), -3e38)])))
    masses = torch.full((50,), (1 - 1e-20) / 49, dtype=torch.float64)
    masses[3] = 1e-20
    assert solve(SemiDiscreteProblem(normal(50, 20), masses=masses)).converged


def test_want_of_memory_makes_blocks_smaller_and_then_one_line(monkeypatch):
    problem = SemiDiscreteProblem(normal(40, 20))
    expected, product, rows = solve(problem, tv=0.1).heights, torch.addmm, 50

    def small(heights, x, y):
        if len(x) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return product(heights, x, y)

    monkeypatch.setattr(torch, "addmm", small)
    assert torch.allclose(solve(problem, tv=0.1).heights, expected, atol=1e-3)
    z = normal(300, 20)
    assert torch.equal(HardMap(problem, expected).assign(z), (z @ problem.targets.T + expected).argmax(1))
    rows = 0
    with pytest.raises(MemoryError, match="one row"):
        solve(problem, tv=0.1)

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("dpmot.scores.cells.row_keys", full)
    with pytest.raises(MemoryError, match="targets do not fit") as error:
        solve(problem)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": torch.tensor([[float("nan")]])}, "finite"),
        ({"targets": torch.tensor([[float("inf")]])}, "finite"),
        ({"targets": torch.zeros(3)}, "shape"),
        ({"targets": torch.zeros(0, 3)}, "shape"),
        ({"targets": torch.zeros(3, 2, dtype=torch.complex64)}, "real"),
        ({"targets": "cifar10"}, "array of numbers"),
        ({"targets": [[1.0, 2.0], [3.0]]}, "array of numbers"),
        ({"masses": ["a", "b", "c"]}, "array of numbers"),
        ({"masses": torch.tensor([0.5, float("nan"), 0.5])}, "positive and finite"),
        ({"masses": torch.ones(3)}, "sum to one"),
        ({"masses": torch.ones(2) / 2}, "one per target"),
        ({"masses": torch.tensor([0.5, 0.5, 0.0])}, "positive"),
        ({"source": "normal"}, "source"),
        ({"source": Gaussian}, "got the class Gaussian"),
        ({"targets": torch.eye(3).to_sparse()}, "targets must be a dense array"),
    ],
)
def test_bad_problems_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        SemiDiscreteProblem(**{"targets": torch.zeros(3, 2), **arguments})
    assert "\n" not in str(error.value)


def test_bad_options_are_refused():
    problem = SemiDiscreteProblem(normal(5, 2))
    for options, message in (
        ({"tv": 0}, "tv"),
        ({"tv": float("nan")}, "tv"),
        ({"tv": 1e-6}, "takes 2.* samples: ask for a higher tv"),
        ({"heights": torch.tensor([0.0, 1e39, 2e39, 3e39, 4e39], dtype=torch.float64)}, "heights' range"),
        ({"tv": "small"}, "tv must lie between 0 and 1, got 'small'"),
        ({"confidence": 1.0}, "confidence"),
        ({"confidence": None}, "confidence"),
        ({"max_samples": 0}, "max_samples"),
        ({"max_samples": float("inf")}, "max_samples must be a whole number of at least 1, got inf"),
        ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"seed": "a"}, "seed"),
        ({"heights": torch.zeros(4)}, "heights"),
        ({"heights": torch.full((5,), float("nan"))}, "heights"),
        ({"heights": "good ones"}, "heights"),
        ({"precision": "fp8"}, "precision"),
        ({"shard_targets": "rows"}, "shard_targets"),
    ):
        with pytest.raises(ValueError, match=message):
            solve(problem, **options)
    with pytest.raises(ValueError, match="must be a SemiDiscreteProblem, got Tensor"):
        solve(normal(5, 2))
    with pytest.raises(ValueError, match="source must return"):
        solve(SemiDiscreteProblem(torch.zeros(3, 2), lambda *_: torch.zeros(1)))
    with pytest.raises(ValueError, match="no variance"):
        solve(SemiDiscreteProblem(torch.eye(3), lambda count, dim, *_: torch.zeros(count, dim)))


def test_a_gram_matrix_that_cannot_be_factored_ends_in_one_line():
    with pytest.raises(ValueError, match="cannot be factored"):
        _cholesky(torch.full((3, 3), torch.nan, dtype=torch.float64))
