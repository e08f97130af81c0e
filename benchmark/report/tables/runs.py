"""Tables of runs: arms at their budgets, with every metric and what they cost."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from benchmark.metrics.registry import quantity
from benchmark.report.arms import FAMILIES, OURS, Arm
from benchmark.report.comparing import compare, few_budget
from benchmark.report.numbers import seconds
from benchmark.report.results import Results, rows_of, slug
from benchmark.report.seeds import Interval, mean_interval
from benchmark.report.tables.table import Cell, Table

COST = ("fit_seconds", "sampling_seconds")
COST_HEADINGS = ("fit s", "sample s")


def results_table(results: Results, problem: str) -> Table:
    """Arms × budgets: quality, modes, novelty and cost. Noise levels σ_M other than the default are in the frontier."""
    names = results.columns([problem])
    table = Table(
        f"results-{slug(problem)}",
        f"Results on {problem}: mean ± 95% interval over seeds. Bold: best of its budget among arms that call the "
        "network.",
        ["sampler", "options", "NFE", "seeds", *map(heading, names), *COST_HEADINGS],
        by="nfe",
    )
    rows = [
        (budget, arm)
        for arm in results.arms(problem, base=False)
        for budget in results.budgets(problem, arm)
        if not results.sigma_m_alone(problem, arm)
    ]
    for budget, arm in sorted(rows, key=lambda row: (row[0], row[1].rank)):
        options = str(results.at(problem, arm, budget)["options"].iloc[0])
        lead = [arm.main.title, options]
        _add(table, results, problem, arm, budget, names, lead)
    _mark_best(table, names)
    table.caption += _on_zeros(table, names)
    return table


def _on_zeros(table: Table, names: Sequence[str]) -> str:
    """What a zero means where values are cut off at 0; empty where there is none."""
    biased = [name for name in names if quantity(name).unbiased]
    cut = [quantity(name).label for name in biased if any(row[name] == 0 for row in table.numbers)]
    return f" A zero of {' or '.join(cut)} is cut off: the unbiased square was below it in every run." if cut else ""


def frontier_table(results: Results) -> Table:
    """DPM-OT and its random latents over the noise level σ_M of the targets."""
    names = results.columns(results.problems)
    table = Table(
        "frontier",
        "Quality against novelty over the noise level of the targets: mean ± 95% interval over seeds.",
        ["problem", "sampler", "σ_M", "NFE", "seeds", *map(heading, names), *COST_HEADINGS],
        by="problem",
    )
    for problem in results.problems:
        points = results.frontier(problem)
        if points["sigma_m"].nunique() < 2:
            continue
        for point in rows_of(points):
            lead = [problem, point.arm.main.title, f"{point.sigma_m:.3g}"]
            _add(table, results, problem, point.arm, int(point.nfe), names, lead, {"sigma_m": point.sigma_m})
    return table


def controls_table(results: Results) -> Table:
    """DPM-OT, its controls and held-out examples at one budget, with the paired difference in quality to DPM-OT."""
    names = results.columns(results.problems)
    table = Table(
        "controls",
        "Controls beside DPM-OT: mean ± 95% interval over seeds. Last: quality minus that of DPM-OT, paired over "
        "seeds.",
        ["problem", "sampler", "NFE", "seeds", *map(heading, names), *COST_HEADINGS, "difference"],
        by="problem",
    )
    for problem in results.problems:
        budget, quality = few_budget(results, problem), results.quality(problem)
        if budget is None or quality is None:
            continue
        for arm in results.arms(problem, base=False):
            here = results.close(problem, arm, budget)
            if here is None or not FAMILIES[arm.family].beside_ours or results.sigma_m_alone(problem, arm):
                continue
            _add(table, results, problem, arm, here, names, [problem, arm.title])
            _add_difference(table, results, problem, quality, (arm, here), budget)
    return table


def _add_difference(
    table: Table, results: Results, problem: str, quality: str, side: tuple[Arm, int], budget: int
) -> None:
    """Append to the last row the difference in quality to DPM-OT at its budget."""
    c = compare(results, problem, quality, side, (OURS, budget)) if side[0] != OURS else None
    if c is None:
        table.cells[-1].append(Cell("–"))
        return
    table.cells[-1].append(Cell(c.difference, (c.high - c.low) / 2))
    table.numbers[-1] |= {"difference": c.difference, "difference_low": c.low, "difference_high": c.high}


def heading(name: str) -> str:
    """A metric as a column's heading, its unit and the better direction included."""
    q = quantity(name)
    return q.label + (" %" if q.rate else "") + {"lower": " ↓", "higher": " ↑", None: ""}[q.better]


def summary(results: Results, problem: str, arm: Arm, budget: int, name: str) -> Interval:
    """A metric's mean over seeds with its 95% interval."""
    return mean_interval(results.by_seed(problem, arm, budget, name))


def _add(
    table: Table,
    results: Results,
    problem: str,
    arm: Arm,
    budget: int,
    names: Sequence[str],
    lead: Sequence[str],
    more: Mapping[str, float] | None = None,
) -> None:
    """Append an arm at a budget as cells, after the words in `lead`, and as numbers, with those in `more`."""
    runs = results.at(problem, arm, budget)
    counted, seeds = int(runs["nfe_counted"].max()), int(runs["seed"].nunique())
    numbers: dict[str, Any] = {"problem": problem, "label": arm.label, "family": FAMILIES[arm.family].heading}
    numbers |= {"nfe": budget, "nfe_counted": counted, "seeds": seeds, **(more or {})}
    cells = [Cell(text) for text in (*lead, str(counted), str(seeds))]
    for name in names:
        value = summary(results, problem, arm, budget, name)
        cells.append(Cell(value.mean, value.half, quantity(name).rate))
        numbers |= {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}
    cost = {name: float(runs[name].mean()) for name in COST}
    table.cells.append([*cells, *(Cell(seconds(value)) for value in cost.values())])
    table.numbers.append(numbers | cost)


def _mark_best(table: Table, names: Sequence[str]) -> None:
    """Mark the best mean of each budget; arms that never call the network are no candidates."""
    numbers = pd.DataFrame(table.numbers)
    calling = numbers[numbers["nfe_counted"] > 0]
    for name in names:
        better = {"lower": -1, "higher": 1, None: 0}[quantity(name).better]
        if not better:
            continue
        column = table.columns.index(heading(name))
        for _, rows in calling.groupby("nfe"):
            values = rows[name].dropna() * better
            if len(values) < 2:
                continue
            for index in values.index[values == values.max()]:
                table.cells[index][column] = replace(table.cells[index][column], best=True)
