"""The study of the bound: cells hold, sabotage is noticed, work is resumed, slopes and verdict are right."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from benchmark.bound import __main__ as command
from benchmark.bound import grid, measure, networks, runner, tables
from benchmark.bound.dropped import TERMS
from benchmark.bound.grid import Cell
from benchmark.bound.mixtures import MIXTURES, exact_flow, mixture
from benchmark.bound.terms import synchronous_term
from samplers.controls import RandomLatent
from samplers.errors import UserError
from samplers.latents import make_latents
from samplers.noise import ShardNoise

RESULTS = Path(__file__).parents[3] / "results" / "bound"
SMALL = Cell("overlapping-4", targets=20, intervals=4, samples=300)


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return runner.execute(replace(SMALL, masses="0.3", score_error=0.3))


def test_record_holds_and_realised_terms_are_below_stated_ones(record: dict[str, Any]) -> None:
    stated, realised, measured = record["terms"], record["realised"], record["measured"]
    assert (
        0
        < measured["low"]
        <= measured["value"]
        <= measured["high"]
        <= record["bound"]
        == pytest.approx(sum(stated.values()))
    )
    assert all(0 < realised[name] <= stated[name] * (1 + 1e-6) for name in TERMS)
    assert record["synchronous"] == pytest.approx(sum(realised.values()))
    assert measured["value"] <= record["synchronous"] <= record["bound"]
    assert record["details"]["mass_from_tv"] >= stated["mass"]
    assert record["details"]["nfe"] == SMALL.intervals + 1
    assert json.loads(json.dumps(record)) == record


def test_a_cell_repeats_to_the_last_digit(record: dict[str, Any]) -> None:
    for cached in (measure.held_out, measure.references, measure.finite_targets, measure.images, measure.target_masses):
        cached.cache_clear()
    again = runner.execute(Cell(**record["config"]["cell"]))
    assert {k: again[k] for k in ("key", "terms", "realised", "measured")} == {
        k: record[k] for k in ("key", "terms", "realised", "measured")
    }


def test_equal_masses_are_the_random_latents_of_the_suite() -> None:
    """The sampler `random-latent`, run through its own code, returns the atoms that the study measures."""
    cell = replace(SMALL, targets=7)
    problem, width = mixture(cell.mixture), exact_flow(cell.mixture).width
    sampler = RandomLatent(sigma_m=cell.level * width, sigma_min=cell.end * width, grid="log-snr", count=7)
    noise = ShardNoise(0, 0, (50, 4), torch.float64)
    samples = sampler.fit(problem, cell.intervals + 1).sample(problem.denoiser, noise)
    latents = make_latents(problem, "train", 7, cell.level * width, 0)
    _, output, nfe = measure.reverse(cell, latents.noised, None)
    assert nfe == cell.intervals + 1
    assert float((samples[:, None] - output).abs().amax(2).amin(1).max()) == 0
    assert measure.target_masses(cell.mixture, 7, cell.level, 0, "equal").tolist() == [1 / 7] * 7


def test_score_error_has_its_size_everywhere() -> None:
    flow = exact_flow("overlapping-8")
    error = measure.score_error(flow, 0.3)
    assert error is not None and measure.score_error(flow, 0) is None
    sizes = error(3 * torch.randn(50, 8, dtype=torch.float64), 0.5).norm(dim=1)
    torch.testing.assert_close(sizes, torch.full((50,), 0.3 / flow.width, dtype=torch.float64))


def test_held_out_latents_are_the_reference_noised() -> None:
    clean, (noised, ends) = measure.references("gaussian-8", 200), measure.held_out("gaussian-8", 0.5, 200)
    width = exact_flow("gaussian-8").width
    assert float((noised[0] - clean[0]).std()) == pytest.approx(0.5 * width, rel=0.1)
    torch.testing.assert_close(ends[1].std(0).mean(), clean[1].std(0).mean(), rtol=0.1, atol=0)
    assert not torch.equal(*clean)


def test_stochastic_solver_is_refused() -> None:
    with pytest.raises(UserError, match="deterministic"):
        measure.reverse(replace(SMALL, solver="ddpm"), torch.zeros(2, 4, dtype=torch.float64), None)


def test_grid() -> None:
    full, quick = grid.full_grid(), grid.quick_grid()
    assert set(quick) <= set(full) and len({cell.key() for cell in full}) == len(full)
    assert {cell.mixture for cell in full} == set(MIXTURES)
    for factor, values in grid.FACTORS.items():
        assert {getattr(cell, factor) for cell in full} >= set(values)
    dims = {exact_flow(name).means.shape[1] for name in MIXTURES}
    assert min(dims) == 2 and max(dims) == 64


def test_digits_mixture_is_the_maximum_likelihood_fit() -> None:
    """Against scikit-learn's linear discriminant analysis."""
    from sklearn.datasets import load_digits
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels / 8 - 1
    digits = mixture("digits-64")
    within = LinearDiscriminantAnalysis(solver="lsqr", store_covariance=True).fit(pixels, labels)
    np.testing.assert_allclose(digits.means, within.means_)
    assert digits.width**2 == pytest.approx(np.trace(within.covariance_) / 64)
    np.testing.assert_allclose(digits.mode_weights, within.priors_)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    cells = [SMALL, replace(SMALL, intervals=8), replace(SMALL, targets=10)]
    monkeypatch.setattr(grid, "full_grid", lambda: cells)
    monkeypatch.setattr(networks, "usable", lambda names: ([], []))
    return cells


def test_command_measures_skips_and_reports(
    short: list[Cell], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--out", str(tmp_path), "--jobs", "1"]) == 0
    folder = tmp_path / "bound"
    paths = [runner.cells_in(folder).path(cell.config()) for cell in short]
    before = [path.stat().st_mtime_ns for path in paths]
    names = {"cells.csv", "slopes.csv", "tables.md", "verdict.json", "factors.png", "terms.png", "slopes.png"}
    assert {path.name for path in folder.iterdir()} >= names - {"factors.png", "terms.png", "slopes.png"}
    found = json.loads((folder / "verdict.json").read_text())
    assert (
        found["claim"] == "C5" and found["verdict"] == "undecided" and found["cells"] == 3 and found["violations"] == 0
    )
    paths[1].write_text("{")
    capsys.readouterr()
    assert command.main(["--out", str(tmp_path), "--jobs", "1"]) == 0
    assert "2 of 3 cells are finished and skipped" in capsys.readouterr().out
    after = [path.stat().st_mtime_ns for path in paths]
    assert before[0] == after[0] and before[2] == after[2] and before[1] != after[1]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--mixture", "overlaping-8"], "unknown mixture 'overlaping-8'"),
        (["--tables-only"], "no records"),
        (["--out", "/dev/null/results"], "can't write to the results folder"),
    ],
)
def test_bad_input_gets_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--out", str(tmp_path), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_outcomes_with_each_estimate_of_the_bound(record: dict[str, Any]) -> None:
    """The bound is linear in W₂(ν_N, p_{σ_M}): each estimate of it changes one term, by G times the difference."""
    [row] = tables.frame([record]).to_dict("records")
    distance, growth = record["details"]["finite_targets_distance"], record["details"]["growth"]
    for name, column in tables.BOUNDS.items():
        assert row[column] == pytest.approx(record["bound"] - growth * (distance["high"] - distance[name]))
    assert row["bound_low"] < row["bound_value"] < row["bound"]

    bounds = {"bound": 10.0, "bound_value": 9.0, "bound_low": 8.0, "samples": 1}
    errors = [(6, 7, 7.5), (7, 8.5, 8.9), (8.2, 8.6, 9.5), (8.5, 9.2, 9.8), (9.1, 9.5, 9.9)]
    cells = pd.DataFrame([bounds | dict(zip(("low", "value", "high"), error, strict=True)) for error in errors])
    counts = tables.outcomes(cells).drop(columns=tables.ESTIMATE)
    assert counts.to_dict("list") == {
        "holds": [5, 2, 1],
        "undecided": [0, 2, 1],
        "exceeded": [0, 1, 3],
        "value above": [0, 2, 4],
    }
    said = tables.robustness(tables.outcomes(cells))
    assert "point estimate of W2(nu_N, p_sigmaM) in the bound 2 hold, 2 are undecided and 1 are exceeded" in said


def test_terms_on_networks_agree_with_the_exact_flow() -> None:
    """A mixture in place of a network: the terms measured through samplers alone are those of the exact flow."""
    problem, flow = mixture("overlapping-4"), exact_flow("overlapping-4")
    setting = networks.Setting("overlapping-4", 0.4, targets=20, intervals=4)
    found = networks.measure(problem, setting)
    latents = make_latents(problem, "train", 20, 0.4, 0).noised
    ends = flow.solve(latents, 0.4, problem.sigma_min)
    cell = Cell("overlapping-4", level=1.0, intervals=4, end=problem.sigma_min / flow.width)
    at_end, output, _ = measure.reverse(cell, latents, None)
    equal = torch.full((20,), 1 / 20)
    assert found["discretisation"] == pytest.approx(synchronous_term(at_end, ends, equal), rel=1e-3)
    assert found["end_level"] == pytest.approx(synchronous_term(output, at_end, equal) + 2 * problem.sigma_min)
    assert found["reference_error"] < 1e-2 * found["discretisation"]
    assert found["mass"] <= flow.growth(0.0, 0.4) * found["mass_distance"]
    assert found["finite_targets"] <= flow.growth(0.0, 0.4) * found["finite_targets_distance"] * 1.1
    assert (
        found["w2_low"] <= found["w2"] <= sum(found[name] for name in ("finite_targets", "discretisation", "end_level"))
    )


def test_networks_that_are_not_there_are_left_out() -> None:
    found, left_out = networks.usable(["no-such"])
    assert found == [] and left_out == ["no-such: no such problem"]
