"""Tables against the same figures computed by pandas from the records."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from benchmark.report.arranging import arrange
from benchmark.report.results import Results
from benchmark.report.tables.latex import escaped
from benchmark.report.tables.listing import tables
from benchmark.report.tables.runs import results_table
from benchmark.report.tables.table import Cell
from tests.benchmark.report.synthetic import record


def by_hand(root: Path, problem: str, sampler: str, nfe: int, metric: str) -> pd.Series:
    """Values of the main arm (no σ_M set), read without the report's or the store's code."""
    rows = [json.loads(path.read_text()) for path in (root / "runs" / problem).glob("*.json")]
    chosen = [
        r["metrics"][metric]["value"]
        for r in rows
        if r["config"]["sampler"]["name"] == sampler and r["config"]["nfe"] == nfe and "sigma_m" not in r["changed"]
    ]
    return pd.Series(chosen)


@pytest.mark.parametrize(
    ("problem", "sampler", "nfe", "metric"),
    [("digits", "dpmot", 10, "fd"), ("mixture2d", "heun", 20, "w2"), ("mixture2d", "held-out", 0, "copy_share")],
)
def test_csv_is_pandas(built: Path, problem: str, sampler: str, nfe: int, metric: str) -> None:
    table = pd.read_csv(built / "tables" / f"results-{problem}.csv")
    line = table[(table["label"] == sampler) & (table["nfe"] == nfe)].iloc[0]
    values = by_hand(built, problem, sampler, nfe, metric)
    half = stats.t.ppf(0.975, len(values) - 1) * values.sem()
    assert line["seeds"] == len(values) == 5
    assert line[metric] == pytest.approx(values.mean(), rel=1e-6)
    assert line[f"{metric}_high"] - line[metric] == pytest.approx(half, rel=1e-5)


def test_counted_evaluations_are_shown(built: Path) -> None:
    table = pd.read_csv(built / "tables" / "results-digits.csv")
    assert table.loc[(table["label"] == "heun") & (table["nfe"] == 10), "nfe_counted"].item() == 9


def test_best_of_each_budget_is_bold(built: Path) -> None:
    numbers = pd.read_csv(built / "tables" / "results-mixture2d.csv")
    table = (built / "tables" / "results-mixture2d.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    column = rows[0].index("W₂ ↓")
    bold = [i for i, row in enumerate(rows[2:]) if row[column].startswith("**")]
    called = numbers[numbers["nfe_counted"] > 0]
    assert bold == sorted(called.groupby("nfe")["w2"].idxmin())


def test_a_zero_that_is_cut_off_is_explained() -> None:
    for value, said in ((0.0, True), (0.1, False)):
        runs = [record("mixture2d", "ddim", 10, seed, {"w2": value, "copy_share": 0.0}) for seed in (0, 1)]
        caption = results_table(arrange(runs, Path("nowhere")), "mixture2d").caption
        assert ("A zero of W₂ is cut off" in caption) == said


def test_frontier_and_controls(built: Path) -> None:
    frontier = pd.read_csv(built / "tables" / "frontier.csv")
    levels = frontier[(frontier["problem"] == "digits") & frontier["label"].str.startswith("dpmot")]["sigma_m"]
    assert levels.tolist() == [0.05, 0.3, 1.0, 3.0]
    controls = pd.read_csv(built / "tables" / "controls.csv").set_index(["problem", "label"])
    difference = (
        by_hand(built, "digits", "unsolved-map", 10, "fd").mean() - by_hand(built, "digits", "dpmot", 10, "fd").mean()
    )
    assert controls.loc[("digits", "unsolved-map"), "difference"] == pytest.approx(difference, rel=1e-6)


def test_solves(built: Path) -> None:
    solves = pd.read_csv(built / "tables" / "ot-solves.csv")
    assert set(solves["tv_bound"]) == {0.0156} and set(solves["samples"]) == {2000 * 4**5}


def test_latex_is_balanced_and_escaped(loaded: Results) -> None:
    for table in tables(loaded):
        text = table.latex()
        assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
        assert not set("₂±≤λσχ↓↑–") & set(text)
        width = len(table.columns)
        assert all(
            line.replace(r"\&", "").count("&") == width - 1 for line in text.splitlines() if line.endswith(r"\\")
        )
    assert escaped("50% of a_b & W₂, σ_M") == r"50\% of a\_b \& $W_2$, $\sigma_M$"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Cell(1.23456, 0.0123), "1.235 ± 0.012"),
        (Cell(123.4, 45.0), "123 ± 45"),
        (Cell(0.1234, 0.0021, percent=True), "12.34 ± 0.21"),
        (Cell(1.5), "1.5"),
        (Cell(2.0, 0.0), "2.0 ± 0.0"),
        (Cell(0.7, 1e-16, percent=True), "70 ± 0"),
        (Cell(0.0166, 1e-8), "0.017 ± 0.000"),
        (Cell(0.9999, 1e-5), "0.99990 ± 0.00001"),
        (Cell(math.nan), "–"),
        (Cell("x"), "x"),
    ],
)
def test_cells(cell: Cell, text: str) -> None:
    assert cell.text() == text
