"""What the page's table of results is built from: every value with its origin, and what the metrics mean."""

import json
import math
from typing import Any

import pandas as pd

from benchmark.metrics.base import Quantity
from benchmark.metrics.registry import quantity
from benchmark.report.arms import FAMILIES, Arm
from benchmark.report.command_lines import command_line
from benchmark.report.figures.looks import looks
from benchmark.report.results import POINT, Results, groups
from benchmark.report.seeds import mean_interval


def explorer(results: Results) -> dict[str, Any]:
    """An entry for each arm at a budget, metrics inside; environments, to which entries refer; metrics by name."""
    environments: dict[str, int] = {}
    cells = []
    values = dict(groups(results.values, POINT))
    for (problem, arm, nfe), runs in groups(results.runs, POINT):
        runs = runs.sort_values("seed")
        first = results.records[runs["key"].iloc[0]]
        environment = json.dumps(first.get("environment", {}), sort_keys=True)
        cells.append(
            {
                "problem": problem,
                **_of_arm(results, arm, runs),
                "nfe": int(nfe),
                "counted": int(runs["nfe_counted"].max()),
                "seeds": runs["seed"].tolist(),
                "keys": runs["key"].tolist(),
                "fit": _short(float(runs["fit_seconds"].mean())),
                "sampling": _short(float(runs["sampling_seconds"].mean())),
                "environment": environments.setdefault(environment, len(environments)),
                **_origin(first, runs),
                "values": _values(values[problem, arm, nfe]),
            }
        )
    return {
        "cells": cells,
        "environments": [json.loads(text) for text in environments],
        "quality": {problem: results.quality(problem) for problem in results.problems},
        "metrics": {name: _described(quantity(name)) for name in _metrics(results)},
    }


def _of_arm(results: Results, arm: Arm, runs: pd.DataFrame) -> dict[str, Any]:
    """Name, family and colour of an arm, and whether it is its sampler's main arm, whose name leaves options out."""
    samplers = frozenset(map(Arm, results.runs["sampler"]))
    return {
        "label": arm.title,
        "main": not arm.options,
        "options": str(runs["options"].iloc[0]),
        "family": FAMILIES[arm.family].heading,
        "colour": looks(samplers)[arm.main].colour,
        "rank": arm.rank[:2],
    }


def _origin(first: dict[str, Any], runs: pd.DataFrame) -> dict[str, Any]:
    """Configuration, what the fit found, and the command that makes these runs again, from the first of them."""
    config = first["config"]
    command = command_line(
        problem=config["problem"],
        sampler=config["sampler"]["name"],
        nfe=config["nfe"],
        seeds=runs["seed"].tolist(),
        samples=config["samples"],
        options=first.get("changed") or {},
    )
    info = (first.get("fit") or {}).get("info") or {}
    return {
        "config": {name: value for name, value in config.items() if name != "seed"},
        "info": {name: value for name, value in info.items() if name != "history"},
        "command": f"{command} --force",
    }


def _values(rows: pd.DataFrame) -> dict[str, list[Any]]:
    """Metric -> [mean, low, high, [value of each seed], note]."""
    out = {}
    for name, group in rows.sort_values("seed").groupby("metric", sort=False):
        interval = mean_interval(group["value"])
        shown = [_short(v) for v in (interval.mean, interval.low, interval.high)]
        out[str(name)] = [*shown, [_short(v) for v in group["value"]], str(group["note"].iloc[0] or "")]
    return out


def meanings(results: Results) -> dict[str, str]:
    """What each metric is, by label; of values that differ in a level alone, those that have a column."""
    known = [quantity(name) for name in _metrics(results)]
    return {q.label: q.meaning for q in known if q.meaning and (q.level is None or q.column is not None)}


def _described(q: Quantity) -> dict[str, Any]:
    return {"label": q.label, "better": q.better, "rate": q.rate, "meaning": q.meaning}


def _metrics(results: Results) -> list[str]:
    """Metrics in order of first appearance."""
    return list(results.values["metric"].unique())


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None
