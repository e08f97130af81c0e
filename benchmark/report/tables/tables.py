"""Tables as CSV (numbers), Markdown and LaTeX (mean ± 95% interval over seeds, best in bold)."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.report.comparing import OURS, compare, few_budget
from benchmark.report.names import FAMILIES, MAIN, UNBIASED, family, metric, rank, title
from benchmark.report.results import Results, groups, rows_of, slug
from benchmark.report.seeds import Interval, mean_interval
from benchmark.report.tables.latex import latex

MOST_DECIMALS = 5


@dataclass(frozen=True)
class Cell:
    """What stands in a table: a number with its interval, or words."""

    value: float | str
    half: float = math.nan
    percent: bool = False
    best: bool = False

    def text(self, strong: str = "{}", join: str = " ± ") -> str:
        """`mean ± half`, with two digits of the half; `strong` wraps the mean where it is the best."""
        if isinstance(self.value, str):
            return self.value
        if math.isnan(self.value):
            return "–"
        factor = 100 if self.percent else 1
        value, half = factor * self.value, factor * self.half
        if half < 0.5 * 10.0**-MOST_DECIMALS:
            half = 0.0
        digits = _decimals(value if math.isnan(half) or half == 0 else half)
        shown = f"{value:.{digits}f}"
        return (strong.format(shown) if self.best else shown) + ("" if math.isnan(half) else f"{join}{half:.{digits}f}")


@dataclass
class Table:
    """A table twice over: as numbers and as cells.

    Attributes:
        name: of its files; caption: what it shows; columns: header of each column of `cells`.
        by: the number at whose change LaTeX draws a rule.
    """

    name: str
    caption: str
    columns: list[str]
    by: str = ""
    cells: list[list[Cell]] = field(default_factory=list)
    numbers: list[dict[str, Any]] = field(default_factory=list)

    def markdown(self) -> str:
        """As a Markdown table."""
        rules = "|".join("---:" if side == "r" else "---" for side in _alignment(self))
        head = ["| " + " | ".join(self.columns) + " |", f"|{rules}|"]
        body = ["| " + " | ".join(c.text("**{}**").replace("|", "\\|") for c in row) + " |" for row in self.cells]
        return "\n".join([self.caption, "", *head, *body]) + "\n"

    def latex(self) -> str:
        """As a LaTeX table as wide as the text; needs the packages booktabs and graphicx."""
        body = []
        for i, row in enumerate(self.cells):
            if self.by and i and self.numbers[i][self.by] != self.numbers[i - 1][self.by]:
                body.append(r"\midrule")
            body.append(" & ".join(_latex_cell(c) for c in row) + r" \\")
        lines = [
            r"\begin{table}",
            r"\centering\small",
            rf"\caption{{{latex(self.caption)}}}",
            rf"\label{{tab:{self.name}}}",
            r"\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{{_alignment(self)}}}",
            r"\toprule",
            " & ".join(map(latex, self.columns)) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """`<name>.csv`, `<name>.md` and `<name>.tex`."""
        pd.DataFrame(self.numbers).to_csv(folder / f"{self.name}.csv", index=False, float_format="%.8g")
        (folder / f"{self.name}.md").write_text(self.markdown())
        (folder / f"{self.name}.tex").write_text(self.latex())


def tables(results: Results) -> list[Table]:
    """Every table that the results have something for."""
    made = [results_table(results, problem) for problem in results.problems]
    made += [frontier_table(results), controls_table(results), ot_table(results)]
    return [table for table in made if table.cells]


def results_table(results: Results, problem: str) -> Table:
    """Arms × budgets: quality, modes, novelty and cost. Noise levels σ_M other than the default are in the frontier."""
    names = [name for name in MAIN if name in results.metrics(problem)]
    table = Table(
        f"results-{slug(problem)}",
        f"Results on {problem}: mean ± 95% interval over seeds. Bold: best of its budget among arms that call the "
        "network.",
        ["sampler", "options", "NFE", "seeds", *map(heading, names), "fit s", "sample s"],
        by="nfe",
    )
    rows = [
        (budget, label)
        for label in results.arms(problem, base=False)
        for budget in results.budgets(problem, label)
        if not results.sigma_m_alone(problem, label)
    ]
    for budget, label in sorted(rows, key=lambda row: (row[0], rank(row[1]))):
        name, _, _ = label.partition(" ")
        lead = {"sampler": title(name), "options": str(results.at(problem, label, budget)["options"].iloc[0])}
        _add(table, results, problem, label, budget, names, lead)
    _mark_best(table, names)
    if cut := [metric(name).label for name in UNBIASED if any(row.get(name) == 0 for row in table.numbers)]:
        table.caption += f" A zero of {' or '.join(cut)} is cut off: the unbiased square was below it in every run."
    return table


def frontier_table(results: Results) -> Table:
    """DPM-OT and its random latents over the noise level σ_M of the targets."""
    names = [name for name in MAIN if any(name in results.metrics(p) for p in results.problems)]
    table = Table(
        "frontier",
        "Quality against novelty over the noise level of the targets: mean ± 95% interval over seeds.",
        ["problem", "sampler", "σ_M", "NFE", "seeds", *map(heading, names), "fit s", "sample s"],
        by="problem",
    )
    for problem in results.problems:
        points = results.frontier(problem)
        if points["sigma_m"].nunique() < 2:
            continue
        for point in rows_of(points):
            lead = {"problem": problem, "sampler": title(point.sampler), "σ_M": f"{point.sigma_m:.3g}"}
            _add(table, results, problem, point.label, int(point.nfe), names, lead, sigma_m=point.sigma_m)
    return table


def controls_table(results: Results) -> Table:
    """DPM-OT, its controls and held-out examples at one budget, with the paired difference in quality to DPM-OT."""
    names = [name for name in MAIN if any(name in results.metrics(p) for p in results.problems)]
    table = Table(
        "controls",
        "Controls beside DPM-OT: mean ± 95% interval over seeds. Last: quality minus that of DPM-OT, paired over "
        "seeds.",
        ["problem", "sampler", "NFE", "seeds", *map(heading, names), "fit s", "sample s", "difference"],
        by="problem",
    )
    for problem in results.problems:
        budget, quality = few_budget(results, problem), results.quality(problem)
        if budget is None or quality is None:
            continue
        for label in results.arms(problem, base=False):
            here = results.close(problem, label, budget)
            if (
                here is None
                or family(label) in ("plain", "distilled", "other")
                or results.sigma_m_alone(problem, label)
            ):
                continue
            c = compare(results, problem, quality, (label, here), (OURS, budget)) if label != OURS else None
            _add(table, results, problem, label, here, names, {"problem": problem, "sampler": title(label)})
            table.cells[-1].append(Cell(c.difference, (c.high - c.low) / 2) if c else Cell("–"))
            table.numbers[-1] |= (
                {"difference": c.difference, "difference_low": c.low, "difference_high": c.high} if c else {}
            )
    return table


_SOLVE: dict[str, tuple[str, Callable[[Any], str]]] = {
    "targets": ("targets", "{:,}".format),
    "samples": ("samples", "{:,}".format),
    "seconds": ("seconds", "{:.2f}".format),
    "chi2": ("χ²", "{:.3g}".format),
    "tv": ("TV", "{:.3g}".format),
    "tv_bound": ("certified TV ≤", "{:.3g}".format),
    "empty_cells": ("empty cells", "{:,}".format),
    "missed_by_chance": ("by chance", "{:,.0f}".format),
    "converged": ("converged", str),
}


def ot_table(results: Results) -> Table:
    """What every solve of the OT problem cost and what its certificate says."""
    table = Table(
        "ot-solves",
        "Semi-discrete OT solves: the certificate, on fresh samples, and the cost (first seed of each arm). Empty "
        "cells: that none of these samples hit; beside them how many as many samples miss by chance. The released "
        "scheme has no certificate: its TV is over the samples of its last iteration.",
        ["problem", "arm", "σ_M", *(heading for heading, _ in _SOLVE.values())],
        by="problem",
    )
    for solve in solves(results):
        table.numbers.append(solve)
        shown = [
            Cell(write(solve[name]) if solve.get(name) is not None else "–") for name, (_, write) in _SOLVE.items()
        ]
        sigma = solve["sigma_m"]
        lead = [solve["problem"], title(solve["arm"]), "–" if sigma is None or sigma != sigma else f"{sigma:.3g}"]
        table.cells.append([*map(Cell, lead), *shown])
    return table


def solves(results: Results) -> list[dict[str, Any]]:
    """The OT solves of the results, one for each problem, arm and noise level (that of the lowest seed and budget)."""
    found = []
    runs = results.runs.sort_values(["nfe", "seed"]) if len(results.runs) else results.runs
    for (problem, label), group in groups(runs, ["problem", "label"]):
        run = group.iloc[0]
        fit = results.records[run["key"]].get("fit") or {}
        info = fit.get("info") or {}
        certificate = info.get("certificate") or uncertified(info)
        if certificate:
            history = info.get("history") or [{}]
            last = {"samples": history[-1].get("samples"), "seconds": history[-1].get("seconds", fit.get("seconds"))}
            lead = {"problem": problem, "arm": label, "sigma_m": run["sigma_m"], "targets": info.get("targets")}
            certified = {name: certificate[name] for name in _SOLVE if name in certificate and name != "samples"}
            found.append(
                {**lead, **last, **certified, "converged": info.get("converged", certificate.get("converged"))}
            )
    return sorted(found, key=lambda s: (s["problem"], rank(s["arm"])))


def uncertified(info: dict[str, Any]) -> dict[str, Any]:
    """What a solve without a certificate, the released scheme's, says of itself; nothing where there was no solve."""
    if "in_sample_tv" not in info:
        return {}
    return {"tv": info["in_sample_tv"], "empty_cells": info["empty_cells"], "converged": False}


def heading(name: str) -> str:
    """A metric as a column's heading, its unit and the better direction included."""
    m = metric(name)
    return m.label + (" %" if m.rate else "") + {-1: " ↓", 1: " ↑", 0: ""}[m.better]


def summary(results: Results, problem: str, label: str, budget: int, name: str) -> Interval:
    """A metric's mean over seeds with its 95% interval."""
    return mean_interval(results.by_seed(problem, label, budget, name))


def _add(
    table: Table,
    results: Results,
    problem: str,
    label: str,
    budget: int,
    names: Iterable[str],
    lead: dict[str, str],
    **more: float,
) -> None:
    """Append an arm at a budget as cells and as numbers."""
    runs = results.at(problem, label, budget)
    counted = int(runs["nfe_counted"].max())
    cells = [*map(Cell, lead.values()), Cell(str(counted)), Cell(str(runs["seed"].nunique()))]
    numbers: dict[str, Any] = {"problem": problem, "label": label, "family": FAMILIES[family(label)]}
    numbers |= {"nfe": budget, "nfe_counted": counted, "seeds": runs["seed"].nunique(), **more}
    for name in names:
        value = summary(results, problem, label, budget, name)
        cells.append(Cell(value.mean, value.half, metric(name).rate))
        numbers |= {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}
    cost = {name: float(runs[name].mean()) for name in ("fit_seconds", "sampling_seconds")}
    table.cells.append([*cells, *(Cell("0" if seconds < 0.005 else f"{seconds:.3g}") for seconds in cost.values())])
    table.numbers.append(numbers | cost)


def _mark_best(table: Table, names: list[str]) -> None:
    """Mark the best mean of each budget; arms that never call the network are no candidates."""
    numbers = pd.DataFrame(table.numbers)
    for name in names:
        better = metric(name).better
        column = table.columns.index(heading(name))
        for _, rows in numbers[numbers["nfe_counted"] > 0].groupby("nfe") if better else ():
            values = rows[name].dropna() * better
            for index in values.index[values == values.max()] if len(values) > 1 else ():
                cell = table.cells[index][column]
                table.cells[index][column] = Cell(cell.value, cell.half, cell.percent, best=True)


def _decimals(value: float) -> int:
    """Decimals that show two significant digits."""
    return (
        0
        if value == 0 or not math.isfinite(value)
        else min(MOST_DECIMALS, max(0, 1 - math.floor(math.log10(abs(value)))))
    )


def _alignment(table: Table) -> str:
    words = [all(isinstance(row[i].value, str) for row in table.cells) for i in range(len(table.columns))]
    return "".join("l" if word else "r" for word in words)


def _latex_cell(cell: Cell) -> str:
    if isinstance(cell.value, str) or math.isnan(cell.value):
        return latex(cell.text())
    return f"${cell.text(strong=chr(92) + 'mathbf{{{}}}', join=' ' + chr(92) + 'pm ')}$"
