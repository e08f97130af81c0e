"""Heights against exact solvers, closed forms, and what a solve must keep: invariances, honest endings."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpmot import Gaussian, SemiDiscreteProblem, Solution, Uniform, certify, closed_form_heights, solve
from dpmot.certificate import product_chi2
from dpmot.scores.cells import Cells
from dpmot.scores.sampling import histogram, subspace_excess
from dpmot.solving import newton
from dpmot.solving.attempts import Attempts
from dpmot.solving.solver import Solver
from tests.dpmot.targets import grid_of_clusters, normal

ot = pytest.importorskip("ot")


def masses_of(problem, heights, samples=100_000):
    """Cell masses by an independent NumPy histogram in float64, from the definition with raw heights."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((samples, problem.dim))
    y = problem.targets.double().numpy()
    scores = x @ y.T + problem.raw_heights(heights).double().numpy()
    return np.bincount(scores.argmax(axis=1), minlength=len(y)) / samples


def test_certified_masses_hold_for_an_independent_histogram():
    problem = SemiDiscreteProblem(normal(300, 32))
    solution = solve(problem, tv=0.05)
    assert solution.converged and solution.certificate.tv_bound <= 0.05
    p = masses_of(problem, solution.heights)
    chi2 = 300 * (p * (p - 1 / 100_000)).sum() - 1  # unbiased up to 1/M
    assert 0.5 * np.sqrt(max(chi2, 0)) <= 0.05
    unsolved = masses_of(problem, torch.zeros(300))
    assert 0.5 * np.abs(unsolved - 1 / 300).sum() > 0.3


def test_heights_agree_with_the_network_simplex_on_a_discretised_source():
    targets, x = normal(12, 3), normal(20_000, 3, seed=1)
    problem = SemiDiscreteProblem(targets)
    heights = solve(problem, tv=0.01).heights
    cost = ot.dist(x.double().numpy(), targets.double().numpy(), metric="sqeuclidean") / 2
    _, log = ot.emd(ot.unif(len(x)), ot.unif(12), cost, log=True, numItermax=10**7)
    # Dual: φ(x) + ψ_j ≤ ½‖x − y_j‖², so h_j = ψ_j − ½‖y_j‖² up to a constant.
    exact = torch.from_numpy(log["v"]) - targets.double().square().sum(1) / 2
    difference = heights - exact
    difference -= difference.mean()
    assert difference.abs().max() < 0.03 * exact.std()


def test_heights_agree_with_pots_semidiscrete_solver():
    targets = normal(20, 4, seed=3)
    problem = SemiDiscreteProblem(targets)
    heights = solve(problem, tv=0.02).heights
    rng = np.random.default_rng(0)
    y = targets.double().numpy()
    potential = ot.semidiscrete.solve_semidiscrete(
        y, lambda b: rng.standard_normal((b, 4)), max_iter=8000, batch_size=64, decreasing_reg=False
    )
    theirs = torch.as_tensor(potential) / 2 - targets.double().square().sum(1) / 2  # their cost has no ½
    difference = heights - theirs
    difference -= difference.mean()
    assert difference.std() < 0.03 * theirs.std()


def test_one_dimension_in_closed_form():
    """Cells are the quantile intervals of the source; neighbours' heights differ by −t·(y_{k+1} − y_k) there."""
    targets = torch.tensor([[-2.0], [-0.5], [0.25], [3.0], [4.0]])
    for source, quantile in (
        (Gaussian(2.0), lambda u: 2 * torch.special.ndtri(u)),
        (Uniform(1, 3), lambda u: 1 + 2 * u),
    ):
        problem = SemiDiscreteProblem(targets, source)
        raw = problem.raw_heights(solve(problem, tv=0.005).heights)
        borders = -(raw.diff() / targets[:, 0].double().diff())
        expected = quantile(torch.arange(1, 5, dtype=torch.float64) / 5)
        assert torch.allclose(borders, expected, atol=0.03)


def test_masses_are_respected():
    masses = torch.softmax(normal(100, seed=5), 0)
    problem = SemiDiscreteProblem(normal(100, 24), masses=masses)
    solution = solve(problem, tv=0.03)
    assert solution.converged
    p = masses_of(problem, solution.heights)
    assert 0.5 * np.abs(p - masses.numpy()).sum() < 0.03 + 0.02  # and the sampling error of p


@settings(max_examples=8, deadline=None)
@given(st.integers(-3, 8), st.floats(-100, 100), st.integers(0, 100))
def test_units_and_shifts_change_nothing(power, shift, seed):
    """Scaling targets by s scales heights by s; shifting them leaves heights alone; so does the source's scale."""
    targets, scale = normal(40, 20, seed=seed).double(), 2.0**power
    base = solve(SemiDiscreteProblem(targets), tv=0.1, precision="fp64").heights
    moved = solve(SemiDiscreteProblem(targets * scale + shift), tv=0.1, precision="fp64").heights
    wider = solve(SemiDiscreteProblem(targets, Gaussian(scale)), tv=0.1, precision="fp64").heights
    assert torch.allclose(moved / scale, base, atol=1e-6)
    assert torch.allclose(wider / scale, base, atol=1e-6)


def test_same_seed_same_bits_other_seed_other_bits():
    problem = SemiDiscreteProblem(normal(200, 40))
    a, b, c = (solve(problem, tv=0.02, seed=s).heights for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_recycling_reaches_the_same_masses():
    problem = SemiDiscreteProblem(normal(300, 400) * torch.linspace(0.6, 1.4, 300)[:, None])
    recycled, plain = solve(problem, recycle=True), solve(problem, recycle=False)
    assert recycled.converged and plain.converged and not torch.equal(recycled.heights, plain.heights)
    unsolved, *solved = (masses_of(problem, h) for h in (torch.zeros(300), recycled.heights, plain.heights))
    off = [0.5 * np.abs(p - 1 / 300).sum() for p in (unsolved, *solved)]
    noise = 0.5 * np.sqrt(2 / np.pi * 300 / 100_000)  # of a histogram of exact masses
    assert off[0] > 0.4 and max(off[1:]) < 0.05 + noise


def test_recycling_leaves_no_bias_in_rarely_hit_cells():
    """Cells of short targets are hit in bursts, many times in one subspace and not at all in most others."""
    targets = normal(150, 150) * torch.exp(normal(150, 1, seed=1))
    cells = Cells.of(SemiDiscreteProblem(targets))
    solver = Solver.of(cells, Attempts(0.05, 0.99, cells.masses), seed=0, subspace=16)
    state = solver.trial.begin(None)
    while state.phase == "start":
        state.phase = solver.trial.look(state)
    while state.phase == "burn-in":
        state.phase = solver.descent.burn_in(state)
    while state.descent < 2000 * 150:
        solver.descent.step(state)
    batches = [histogram(solver.cells, state.average, 300, (9, k), subspace=16).counts.double() for k in range(500)]
    floor = 1.3 / 2000 * float(torch.stack(batches).var(dim=0).mean()) / 2  # over the variance of independent samples
    found = certify(solver.cells.problem, solver.cells.outer(state.average), 100_000)
    assert found.chi2_interval[0] < floor < 0.02, "χ² lies above the sampling floor"


class EveryCell(Attempts):
    """A stopping rule of its own: no cell's mass may be off by more than a third, at the confidence asked for."""

    def reached(self, certificate):
        low, high = certificate.worst_cell.ratio_interval
        return low >= 2 / 3 and high <= 4 / 3


def test_another_stopping_rule_takes_one_class():
    problem = SemiDiscreteProblem(normal(40, 12))
    solution = solve(problem, tv=0.05, stopping=EveryCell)
    assert solution.converged and np.abs(40 * masses_of(problem, solution.heights) - 1).max() < 1 / 3
    default = solve(problem, tv=0.05)
    assert default.samples < solution.samples, "TV alone is reached sooner"
    assert not solve(problem, tv=0.05, stopping=EveryCell, max_samples=1000).converged


def test_a_good_warm_start_is_only_certified_and_a_bad_one_solved():
    problem = SemiDiscreteProblem(normal(200, 8))
    cold = solve(problem, tv=0.02)
    warm = solve(problem, tv=0.06, heights=cold.heights, seed=1)
    assert warm.converged and warm.samples == 0
    bad = solve(problem, tv=0.05, heights=cold.heights + 0.3 * normal(200))
    assert bad.converged and bad.samples > 0 and not bad.history[0]["tv_bound"] < 0.05
    for hopeless in (1e6, 1e12):
        found = solve(problem, tv=0.05, heights=hopeless * normal(200))
        assert found.converged and found.samples <= 2 * solve(problem, tv=0.05).samples


def test_a_good_closed_form_is_only_certified_and_a_poor_one_left_behind():
    """Targets of one length in high dimension; in the first three coordinates alone they need a descent."""
    targets = torch.nn.functional.normalize(normal(300, 2000))
    solution = solve(SemiDiscreteProblem(targets), tv=0.1)
    assert solution.converged and solution.samples == 0 and len(solution.history) == 1
    assert torch.equal(solution.heights, closed_form_heights(SemiDiscreteProblem(targets)))
    fresh = certify(SemiDiscreteProblem(targets), solution.heights, 200_000, seed=5)
    assert fresh.chi2_interval[1] < 0.04
    uneven = solve(SemiDiscreteProblem(targets[:, :3] * 3), tv=0.1)
    assert uneven.converged and uneven.samples > 0


def test_variance_of_recycled_histograms():
    targets = torch.nn.functional.normalize(normal(500, 2000))
    cells = Cells.of(SemiDiscreteProblem(targets))
    heights = cells.inner(solve(cells.problem).heights)
    for m in (64, 128):
        batches = [histogram(cells, heights, 1000, (9, k), subspace=m).counts.double() for k in range(400)]
        found = float(torch.stack(batches).var(dim=0).mean()) / 2
        assert 0.9 < found / (1 + subspace_excess(m, 1000, 500)) < 1.15 and found > 1.4


@pytest.mark.parametrize("recycle", [True, False])
def test_starts_are_judged_without_bias(recycle):
    """Recycled samples depend on each other, which would lift an estimate from one histogram."""
    targets = normal(200, 300) * torch.linspace(0.8, 1.2, 200)[:, None]
    cells = Cells.of(SemiDiscreteProblem(targets))
    heights = cells.inner(closed_form_heights(cells.problem) * 0.7)
    key = [(7, step) for step in range(400)]
    found = [histogram(cells, heights, 1000, one, subspace=32 if recycle else 0).counts for one in key]
    products = [product_chi2(a, b, cells.masses) for a, b in pairwise(found)]
    truth = certify(cells.problem, cells.outer(heights), 400_000)
    spread = np.std(products[::2]) / 200**0.5
    low, high = truth.chi2_interval
    assert low - 3 * spread < np.mean(products) < high + 3 * spread


@pytest.mark.parametrize("seed", range(3))
def test_clusters_on_the_plane_are_solved(seed, monkeypatch):
    problem = SemiDiscreteProblem(grid_of_clusters(200, seed))
    solution = solve(problem, seed=seed, max_samples=2000 * 200)
    by_phase = dict(solution.phase_samples)
    assert by_phase.keys() | {"prepare"} == solution.seconds.keys() and min(solution.seconds.values()) > 0
    assert by_phase.pop("certificate") == solution.certificate_samples
    assert by_phase.pop("start") == 4 * 512 and by_phase["facets"] >= newton.SAMPLES * 200
    assert min(by_phase.values()) > 0 and sum(by_phase.values()) == solution.samples
    assert solution.converged and certify(problem, solution.heights, 200_000, seed=9).tv < 0.05
    monkeypatch.setattr("dpmot.solving.newton.CELLS", 0)
    assert not solve(problem, seed=seed, max_samples=2000 * 200).converged, "the test shows nothing"


def test_facets_are_the_derivatives_of_the_masses(monkeypatch):
    """Three targets on a line: the facets' densities are φ(border)/distance."""
    targets = torch.tensor([[-1.0], [0.0], [2.0]])
    problem = SemiDiscreteProblem(targets)
    cells = Cells.of(problem)
    heights = cells.inner(-0.5 * targets[:, 0].square())
    monkeypatch.setattr(newton, "SAMPLES", 500_000)
    weights = newton.facets(cells, heights, torch.full((3,), 0.02, dtype=torch.float64), (0,))
    exact = torch.zeros(3, 3, dtype=torch.float64)
    y, h = cells.targets[:, 0].double(), heights
    for i, j in ((0, 1), (1, 2)):
        border = -(h[j] - h[i]) / (y[j] - y[i])
        exact[i, j] = exact[j, i] = torch.exp(-border.square() / 2) / (2 * torch.pi) ** 0.5 / (y[j] - y[i]).abs()
    assert torch.allclose(weights, exact, rtol=0.05)


def test_the_readmes_tutorial_runs_as_written(tmp_path, monkeypatch, capsys):
    readme = Path(__file__).parents[3] / "dpmot" / "README.md"
    text = readme.read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    assert names["solution"].converged and names["y"].shape == (16, 64) and "converged" in capsys.readouterr().out
    for link in re.findall(r"\]\((?!http)([^)]+)\)", text):
        assert (readme.parent / link).exists(), link


def test_saved_solution_comes_back(tmp_path):
    problem = SemiDiscreteProblem(normal(50, 20))
    solution = solve(problem, tv=0.1)
    solution.save(tmp_path / "h.safetensors")
    loaded = Solution.load(tmp_path / "h.safetensors")
    assert torch.equal(loaded.heights, solution.heights) and loaded.certificate == solution.certificate
    assert loaded.phase_samples == solution.phase_samples and loaded.history == solution.history
    assert str(loaded) == str(solution)
    (tmp_path / "bad").write_bytes(b"not a solution")
    for path, message in (("bad", "damaged"), ("none", "no such file")):
        with pytest.raises(ValueError, match=message):
            Solution.load(tmp_path / path)


def test_a_callable_source_is_centred_and_solved():
    def shifted(count, dim, generator, device, dtype):
        return 50 + 3 * torch.rand(count, dim, generator=generator, device=device, dtype=dtype)

    problem = SemiDiscreteProblem(normal(50, 20), shifted)
    solution = solve(problem)
    assert solution.converged
    x = shifted(50_000, 20, torch.Generator().manual_seed(3), torch.device("cpu"), torch.float64)
    scores = x @ problem.targets.double().T + problem.raw_heights(solution.heights)
    p = scores.argmax(1).bincount(minlength=50) / 50_000
    assert 0.5 * (p - 1 / 50).abs().sum() < 0.05 + 0.02


def test_closed_form_start_is_close_in_high_dimension():
    problem = SemiDiscreteProblem(normal(200, 500) * torch.linspace(0.6, 1.4, 200)[:, None])
    start = certify(problem, closed_form_heights(problem), 20_000)
    nothing = certify(problem, torch.zeros(200), 20_000)
    assert start.tv < 0.15 < 0.45 < nothing.tv
