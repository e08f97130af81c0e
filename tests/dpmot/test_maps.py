"""Maps against their definitions, and against each other in their limits."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpmot import HardMap, SemiDiscreteProblem, SoftmaxMap, TopKMap, Uniform, assign, solve
from dpmot.certificate import from_counts
from dpmot.scores.assign import assign_exactly
from dpmot.scores.cells import Cells

GENERATOR = torch.Generator().manual_seed(0)
TARGETS = torch.randn(30, 6, generator=GENERATOR) + 3
HEIGHTS = torch.randn(30, generator=GENERATOR)
PROBLEM = SemiDiscreteProblem(TARGETS, Uniform(0, 1))
Z = torch.rand(500, 6, generator=GENERATOR)


def scores():
    return Z.double() @ TARGETS.double().T + PROBLEM.raw_heights(HEIGHTS).double()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.integers(1, 40), st.integers(1, 9), st.booleans())
def test_assign_is_numpys_argmax(rows, n, d, values):
    x, y, h = (torch.randint(-3, 4, shape).float() for shape in ((rows, d), (n, d), (n,)))  # integers: many exact ties
    exact = x.double().numpy() @ y.double().numpy().T + h.numpy()
    found = assign(x, y, h, values=values)
    assert np.array_equal(found.cell.numpy(), exact.argmax(axis=1))
    if values:
        ordered = np.sort(exact, axis=1)
        assert np.array_equal(found.best.numpy(), ordered[:, -1])
        second = ordered[:, -2] if n > 1 else np.full(rows, -np.inf)
        assert np.array_equal(found.second.numpy(), second)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("far", "high"), [(1.0, 1.0), (1e5, 1.0), (1e-9, 1.0), (1e30, 1e6), (1e-30, 1e-9), (1.0, 1e30)]
)
def test_exact_assignment_is_float64s_whatever_the_units(far, high, precision):
    x, y = high * torch.randn(500, 20, generator=GENERATOR), far * torch.randn(300, 20, generator=GENERATOR)
    heights = far * high * torch.randn(300, generator=GENERATOR)
    exact = x.double() @ y.double().T + heights.double()
    assert torch.equal(assign_exactly(x, y, heights, precision), exact.argmax(1))
    small = torch.cat([x, 1e-12 * x])  # rows of very different sizes
    exact = small.double() @ y.double().T
    assert torch.equal(assign_exactly(small, y, torch.zeros(300), precision), exact.argmax(1))


def test_hard_map_is_the_raw_argmax_for_raw_samples():
    hard = HardMap(PROBLEM, HEIGHTS)
    expected = scores().argmax(1)
    assert torch.equal(hard.assign(Z), expected) and torch.equal(hard(Z), TARGETS[expected])


def test_softmax_map_is_its_formula_and_tends_to_the_hard_map():
    tau = 0.5
    expected = torch.softmax(scores() / tau, 1) @ TARGETS.double()
    assert torch.allclose(SoftmaxMap(PROBLEM, HEIGHTS, temperature=tau)(Z).double(), expected, atol=1e-4)
    assert torch.allclose(SoftmaxMap(PROBLEM, HEIGHTS, temperature=1e-6)(Z), HardMap(PROBLEM, HEIGHTS)(Z), atol=1e-3)


def test_top_k_map_by_hand():
    weight, angle = 0.25, 0.6
    got = TopKMap(PROBLEM, HEIGHTS, k=4, angle=angle, weight=weight)(Z)
    normals = torch.nn.functional.normalize(torch.cat([TARGETS, -torch.ones(30, 1)], 1).double(), dim=1)
    for row, order in zip(got, scores().argsort(dim=1, descending=True), strict=True):
        i, expected = order[0], TARGETS[order[0]]
        for j in order[1:4]:
            if torch.acos((normals[i] @ normals[j]).clamp(-1, 1)) <= angle:
                expected = (1 - weight) * TARGETS[i] + weight * TARGETS[j]
                break
        assert torch.allclose(row, expected, atol=1e-5)


def test_top_k_map_limits_and_random_weights():
    hard = HardMap(PROBLEM, HEIGHTS)(Z)
    assert torch.equal(TopKMap(PROBLEM, HEIGHTS, k=1)(Z), hard)
    assert torch.equal(TopKMap(PROBLEM, HEIGHTS, k=5, angle=0.0, weight=0.5)(Z), hard)
    mixed = TopKMap(PROBLEM, HEIGHTS, k=2, angle=3.2)
    whole = mixed(Z)
    assert torch.equal(whole, torch.cat([mixed(part) for part in Z.split(77)])), "depends on the batch"
    other = TopKMap(PROBLEM, HEIGHTS, k=2, angle=3.2, weight=1.0)(Z)
    weights = ((whole - hard) * (other - hard)).sum(1) / (other - hard).square().sum(1)
    ks = torch.sort(weights).values - torch.linspace(0, 1, len(weights))
    assert ks.abs().max() < 1.63 / len(weights) ** 0.5, "weights are not uniform"  # 1% level of Kolmogorov-Smirnov


def test_maps_stream_and_take_what_looks_like_an_array(monkeypatch):
    maps = HardMap(PROBLEM, HEIGHTS), TopKMap(PROBLEM, HEIGHTS, k=3), SoftmaxMap(PROBLEM, HEIGHTS)
    whole = [each(Z.numpy()) for each in maps]
    assert all(each(Z[:0]).shape == (0, 6) for each in maps)
    monkeypatch.setattr("dpmot.maps.ROWS", 64)
    for each, expected in zip(maps, whole, strict=True):
        assert torch.allclose(each(Z), expected, atol=1e-6) and each.assign(Z).shape == (500,)


def test_maps_shrink_their_blocks_where_memory_runs_out(monkeypatch):
    heard, whole = [], HardMap(PROBLEM, HEIGHTS)
    expected, cells, assign_all = whole(Z), whole.assign(Z), Cells.assign

    def small(self, x, heights, **options):
        heard.append(len(x))
        if len(x) > 100:
            raise torch.OutOfMemoryError
        return assign_all(self, x, heights, **options)

    monkeypatch.setattr(Cells, "assign", small)
    assert torch.equal(whole(Z), expected) and heard[:2] == [500, 125] and max(heard[2:]) == 31
    assert torch.equal(whole.assign(Z), cells)
    monkeypatch.setattr(Cells, "assign", lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError))
    with pytest.raises(MemoryError, match="no room for the mapped points"):
        whole(Z)


def test_reduced_maps_agree_with_raw_scores():
    """With d > N everything happens in the targets' span."""
    targets = torch.randn(40, 200, generator=GENERATOR)
    problem, z = SemiDiscreteProblem(targets), torch.randn(2000, 200, generator=GENERATOR)
    heights = torch.randn(40, generator=GENERATOR)
    exact = z.double() @ targets.double().T + heights.double()
    hard = HardMap(problem, heights)
    assert hard.cells.reduced and (hard.assign(z) == exact.argmax(1)).double().mean() > 0.998
    smooth = SoftmaxMap(problem, heights, temperature=5.0)(z).double()
    assert torch.allclose(smooth, torch.softmax(exact / 5, 1) @ targets.double(), atol=1e-3)


def test_blocks_of_wide_samples_are_short_and_want_of_memory_is_one_line(monkeypatch):
    problem = SemiDiscreteProblem(torch.randn(20, 50, generator=GENERATOR))
    z, heights = torch.randn(300, 50, generator=GENERATOR), torch.zeros(20)
    whole, widest, embed = HardMap(problem, heights)(z), [], Cells.embed
    monkeypatch.setattr("dpmot.maps.NUMBERS", 2000)
    monkeypatch.setattr(Cells, "embed", lambda cells, x: widest.append(x.numel()) or embed(cells, x))
    for build in (HardMap, TopKMap, SoftmaxMap):
        build(problem, heights)(z)
    assert torch.equal(HardMap(problem, heights)(z), whole) and max(widest) == 2000

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    for name, said in (("linalg.solve_triangular", "basis"), ("empty", "map fewer")):
        hard = HardMap(problem, heights)
        with monkeypatch.context() as patched, pytest.raises(MemoryError, match=said) as error:
            patched.setattr(f"torch.{name}", full)
            hard(z)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("distance", [1e-3, 1e-5])
def test_close_pairs_get_the_masses_that_were_certified(distance):
    """With d > N the solve draws coordinates in the targets' span, the map computes them: both of one law."""
    targets = torch.randn(20, 100, generator=GENERATOR)
    targets = torch.cat([targets, targets + distance * torch.randn(20, 100, generator=GENERATOR)])
    problem = SemiDiscreteProblem(targets)
    solution = solve(problem)
    hard = HardMap(problem, solution.heights)
    assert solution.converged and hard.cells.reduced
    hits = hard.assign(torch.randn(200_000, 100, generator=GENERATOR)).bincount(minlength=40)
    found = from_counts(hits, torch.full((40,), 1 / 40, dtype=torch.float64))
    assert found.tv_bound <= 0.05


def test_linearly_dependent_targets_are_mapped_in_their_span():
    """100 targets in 7 of 300 dimensions: the Gram matrix has rank 7."""
    targets = torch.randn(100, 7, generator=GENERATOR) @ torch.randn(7, 300, generator=GENERATOR)
    problem, z = SemiDiscreteProblem(targets), torch.randn(2000, 300, generator=GENERATOR)
    heights = 10 * torch.randn(100, generator=GENERATOR)
    exact = z.double() @ targets.double().T + heights.double()
    hard = HardMap(problem, heights)
    assert hard.cells.reduced and (hard.assign(z) == exact.argmax(1)).double().mean() > 0.998


def test_bad_input():
    for build, message in (
        (lambda: TopKMap(PROBLEM, HEIGHTS, k=0), "k must"),
        (lambda: TopKMap(PROBLEM, HEIGHTS, k=1.5), "k must be a whole number"),
        (lambda: TopKMap(PROBLEM, HEIGHTS, angle=float("nan")), "angle"),
        (lambda: TopKMap(PROBLEM, HEIGHTS, weight=2), "weight"),
        (lambda: SoftmaxMap(PROBLEM, HEIGHTS, temperature=0), "temperature"),
        (lambda: SoftmaxMap(PROBLEM, HEIGHTS, temperature=1e-39), "too low for these targets"),
        (lambda: Uniform("a", 0), "low must be below high"),
        (lambda: HardMap(PROBLEM, HEIGHTS[:3]), "heights"),
        (lambda: HardMap(PROBLEM, HEIGHTS)(Z[:, :2]), "source samples"),
        (lambda: HardMap(PROBLEM, HEIGHTS)("noise"), "source samples"),
        (lambda: HardMap(PROBLEM, HEIGHTS).assign(Z * float("nan")), "finite"),
        (lambda: SoftmaxMap(PROBLEM, HEIGHTS, precision="fp16")(1e6 * Z), "range of fp16"),
        (lambda: assign(Z, TARGETS[:, :2], HEIGHTS), "shape"),
    ):
        with pytest.raises(ValueError, match=message):
            build()


def test_importing_dpmot_imports_little():
    heavy = {"ot", "scipy", "sklearn", "matplotlib", "pandas", "benchmark", "samplers"}
    code = f"import sys, dpmot; print(sorted({heavy} & {{*sys.modules}}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
