"""Every term of our bound is needed somewhere: stress cells, the table of dropped terms, where the bound is vacuous."""

import json
import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from benchmark.bound import __main__ as command
from benchmark.bound import dropped, grid, measure, networks, runner, tables
from benchmark.bound.dropped import TERMS
from benchmark.bound.mixtures import MIXTURES, exact_flow, mixture
from benchmark.bound.terms import Bound

RESULTS = Path(__file__).resolve().parents[3] / "results" / "bound"
SHARP = {term: replace(cell, samples=500) for term, cell in grid.sharp_cells().items()}


def weaken(monkeypatch: pytest.MonkeyPatch, term: str, factor: float) -> None:
    """Make the study compute that multiple of a term."""
    if term == "finite_targets":
        right = measure.finite_target_term
        monkeypatch.setattr(measure, "finite_target_term", lambda *arguments: factor * right(*arguments))
    else:
        monkeypatch.setattr(measure, "Bound", lambda **terms: Bound(**terms | {term: factor * terms[term]}))


@pytest.mark.parametrize("term", TERMS)
def test_a_missing_or_halved_term_is_noticed(
    term: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In its stress cell the bound holds with a term; without it, and with half of it, the run stops and says where."""
    cell = SHARP[term]
    monkeypatch.setattr(grid, "full_grid", lambda: [cell])
    monkeypatch.setattr(networks, "usable", lambda names: ([], []))
    runner.run([cell], tmp_path / "bound")
    [right] = runner.read(tmp_path / "bound")
    assert not runner.violated(right)
    assert dropped.needed(tables.frame([right]))[term].all()
    for factor in (0.0, 0.5):
        with monkeypatch.context() as broken:
            weaken(broken, term, factor)
            assert command.main(["--force", "--out", str(tmp_path), "--jobs", "1"]) == 1
        message = capsys.readouterr().err.strip().splitlines()[-1]
        assert message.startswith("error: the bound is violated in the cell") and cell.key()[:12] in message
        [record] = runner.read(tmp_path / "bound")
        assert record["terms"][term] == pytest.approx(factor * right["terms"][term])
        assert tables.verdict(tables.frame([record]), [])["verdict"] == "not supported"
    assert command.main(["--out", str(tmp_path), "--jobs", "1"]) == 1  # a stored violation stops the next run as well


@pytest.mark.parametrize("solver, intervals", [("ddim", 1), ("heun", 1), ("ddim", 2)])
@pytest.mark.parametrize("end", [0.2, 10.0])
def test_stress_on_one_gaussian_is_its_arithmetic(solver: str, intervals: int, end: float) -> None:
    """Each map multiplies x − m by a number: discretisation and end level are differences of these, times its RMS."""
    cell = grid.Cell("gaussian-8", 50, 20.0, intervals, solver, end=end, samples=0)
    record, flow = measure.measure(cell), exact_flow("gaussian-8")
    latents = measure.targets("gaussian-8", 50, 20.0, 0) - flow.means
    spread = math.sqrt(float(latents.square().sum(1).mean()))

    levels, factor = np.geomspace(20.0, end, intervals + 1), 1.0
    for here, there in pairwise(levels):
        first = here / (1 + here**2)
        step = 1 - (here - there) * first
        if solver == "heun":
            step = 1 - (here - there) / 2 * (first + step * there / (1 + there**2))
        factor *= step
    discretisation = abs(factor / math.hypot(1, end) - 1 / math.hypot(1, 20.0)) * spread
    end_level = abs(factor) * abs(1 / (1 + end**2) - 1 / math.hypot(1, end)) * spread
    assert record["terms"]["discretisation"] == pytest.approx(discretisation, rel=1e-6)
    assert record["terms"]["end_level"] == pytest.approx(end_level, rel=1e-6)


@pytest.mark.parametrize("count, masses", [(1, "equal"), (8, "one")])
def test_error_of_a_single_output(count: int, masses: str) -> None:
    """W₂²(δ_x, N(m, s²I)) = |x − m|² + d s²; all mass on one of N latents costs their RMS distance from it."""
    cell = grid.Cell("gaussian-8", count, 0.5, masses=masses, samples=2000)
    record, flow = measure.measure(cell), exact_flow("gaussian-8")
    latents = measure.targets("gaussian-8", count, 0.5, 0)
    _, output, _ = measure.reverse(cell, latents, None)
    error = math.sqrt(float((output[0] - flow.means[0]).square().sum()) + 8 * flow.width**2)
    assert record["measured"]["low"] <= error <= record["measured"]["high"]
    moved = math.sqrt(float((latents - latents[0]).square().sum(1).mean()))
    assert record["details"]["mass_distance"] == pytest.approx(moved)
    assert record["details"]["tv"] == pytest.approx(1 - 1 / count)


def test_stress_cells_belong_to_the_grid_and_leave_the_sweeps_alone() -> None:
    stress, full, quick = grid.stress_cells(), grid.full_grid(), grid.quick_grid()
    assert set(stress) == set(grid.sharp_cells()) == set(TERMS)
    for term, cell in grid.sharp_cells().items():
        assert cell in stress[term] and cell in full and cell in quick
    base = {name: getattr(grid.Cell(""), name) for name in grid.FACTORS}
    for cell in (cell for cells in stress.values() for cell in cells):
        assert sum(getattr(cell, name) != value for name, value in base.items()) >= 2
    assert set(MIXTURES) == {cell.mixture for term in ("mass", "finite_targets") for cell in stress[term]}


def made(*rows: dict[str, Any]) -> pd.DataFrame:
    """Checked cells whose terms are 1 each and whose error needs them all, but for what is given."""
    terms = {f"term_{term}": 1.0 for term in TERMS}
    plain = {"mixture": "gaussian-8", "samples": 1, "dim": 8, "level": 1.0, "aimed_at": "", "ratio": 1.0}
    plain |= terms | {"low": 4.5, "value": 4.7, "high": 4.9, "bound": 5.0, "bound_value": 5.0, "bound_low": 5.0}
    return pd.DataFrame([plain | row for row in rows])


def test_states_without_a_term() -> None:
    cells = made(
        {},  # the others sum to 4, below the error's interval
        {"term_mass": 0.3, "term_score": 1.7},  # to 4.7 without mass: in the interval
        {"term_mass": 0.1, "term_score": 1.9},  # to 4.9: not below its upper limit
        {"term_mass": 0.0, "term_score": 2.0},  # not at work
        {"term_mass": 1e84},  # 1e84 + 4 − 1e84 would be 0
    )
    assert dropped.states(cells, "mass").fillna("").tolist() == ["violated", "open", "holds", "", "violated"]
    counted = dropped.counts(cells).set_index(["law", "term"]).loc[("all laws", "mass")]
    assert counted[["active", "violated", "open", "holds"]].tolist() == [4, 2, 1, 1]
    assert dropped.table(cells).set_index("law")["mass"].tolist() == ["2 / 1", "2 / 1"]
    of_law = dropped.decisive(cells).iloc[0]
    assert of_law["cells"] == 5 and of_law["several"] == 4 and of_law["only mass"] == 1


def test_a_bound_that_could_not_fail_is_not_supported() -> None:
    """Where every term is needed the claim is supported; a term that is needed nowhere leaves it undecided."""
    assert tables.verdict(made({}), [])["verdict"] == "supported"
    found = tables.verdict(made({"term_mass": 0.05, "term_score": 1.95}), [])
    assert found["verdict"] == "undecided" and "could not fail for mass" in found["evidence"]
    assert found["violated_without"] == {
        "mass": 0,
        "finite targets": 1,
        "discretisation": 1,
        "score": 1,
        "end level": 1,
    }
    for bound, status in ((4.7, "undecided"), (4.4, "not supported")):
        assert tables.verdict(made({"bound": bound}), [])["verdict"] == status


@pytest.mark.parametrize("law", ["overlapping-4", "separate-2", "digits-64"])
def test_trivial_bound_is_the_cost_of_independent_draws(law: str) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (mixture(law).sample(20_000, generator) for _ in "AB")
    costs = (first - second).square().sum(1)
    sampled, slack = float(costs.mean()), 5 * float(costs.std()) / math.sqrt(len(costs))
    assert abs(dropped.trivial_bound(law, 0.0) ** 2 - sampled) < slack
    error = math.sqrt(10) * dropped.data_spread(exact_flow(law))  # of a point three spreads away from the mean
    assert dropped.trivial_bound(law, error) >= error


def test_vacuous_cells_are_counted() -> None:
    """gaussian-8: √2·√(8·0.4²) = 1.6."""
    few = {"low": 0.9, "value": 1.0, "high": 1.1}
    cells = made(few | {"bound": 1.59, "ratio": 1.59}, few | {"bound": 1.61, "ratio": 1.61}, few | {"bound": 9.0})
    cells.loc[2, "ratio"] = 9.0
    assert dropped.vacuous(cells).tolist() == [False, True, True]
    row = dropped.tightness(cells).iloc[0]
    assert row["trivial bound"] == pytest.approx(1.6)
    assert [row["vacuous"], row["vacuous within 3×"], row["median"]] == [2, 1, 1.61]


def test_published_tables_are_what_the_records_say() -> None:
    """Counted anew from the records' own numbers; every term is needed, in a stress cell aimed at it."""
    shown = pd.read_csv(RESULTS / "dropped.csv").set_index(["law", "term"])
    records = [json.loads(path.read_text()) for path in sorted((RESULTS / "cells").glob("*.json"))]
    records = [record for record in records if record["measured"]]
    aimed, prose = grid.aimed_at(), " ".join((RESULTS / "BOUND.md").read_text().split())
    assert set(aimed) <= {record["key"] for record in records}
    assert f"the grid has {len(aimed)} *stress cells*" in prose
    said = re.search(
        r"sum of the others\) in (\d+) cells for the mass, (\d+) for the finite targets, (\d+) for the discretisation, "
        r"(\d+) for the score and (\d+) for the end level",
        prose,
    )
    assert said
    numbers = dict(zip(TERMS, map(int, said.groups()), strict=True))
    for term in TERMS:
        found = dict.fromkeys(("active", "violated", "holds", "aimed"), 0)
        for record in records:
            rest = math.fsum(value for name, value in record["terms"].items() if name != term)
            over = record["measured"]["low"] > rest
            if record["terms"][term] > 0:
                found["active"] += 1
                found["violated"] += over
                found["holds"] += record["measured"]["high"] <= rest
                found["aimed"] += over and aimed.get(record["key"]) == term
        row = shown.loc[("all laws", term.replace("_", " "))]
        assert row[["active", "violated", "holds"]].tolist() == [found[n] for n in ("active", "violated", "holds")]
        assert found["aimed"] > 0 and found["violated"] == numbers[term]
    for name in ("dropped", "decisive", "tightness"):
        assert (RESULTS / f"{name}.tex").read_text().startswith("\\begin{table}")
