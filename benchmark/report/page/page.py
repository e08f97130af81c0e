"""`index.html`: one file with verdict, figures, every result and how it was made; nothing is loaded from elsewhere."""

import base64
import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from benchmark.report.comparing import RULES
from benchmark.report.names import FAMILIES, family, looks, metric, mixture_level, rank, title
from benchmark.report.results import ARM, Results, groups
from benchmark.report.seeds import mean_interval
from benchmark.report.tables.tables import Table
from benchmark.report.verdict.claims import Verdict
from benchmark.report.verdict.verdict import COLUMNS, QUESTION, headline, in_numbers, row, verdict_word
from benchmark.report.verdict.wording import context


@dataclass(frozen=True)
class Picture:
    """A figure on the page: its file name without ending, its heading and its caption (also its alternative text)."""

    name: str
    heading: str
    caption: str


def write(
    results: Results, verdicts: Sequence[Verdict], pictures: Sequence[Picture], tables: Sequence[Table], out: Path
) -> None:
    """`index.html` in `out`, from what is there already in `out/figures`."""
    page = (
        _environment()
        .get_template("page.html.j2")
        .render(
            question=QUESTION,
            answer=headline(verdicts),
            in_numbers=in_numbers(verdicts),
            facts=facts(results),
            verdicts=verdicts,
            columns=COLUMNS,
            row=row,
            verdict_word=verdict_word,
            beside=context(results),
            rules=RULES,
            pictures=[(p, _embedded(out / "figures" / f"{p.name}.png")) for p in pictures],
            tables=tables,
            metrics=_meanings(results),
            failed=[_failure(record) for record in results.failed],
            superseded=results.superseded,
            data=explorer(results),
        )
    )
    (out / "index.html").write_text(page)


def facts(results: Results) -> dict[str, Any]:
    """Figures for the head of the page."""
    records = list(results.records.values())
    newest = max(records, key=lambda r: r.get("created", ""), default={})
    environment = newest.get("environment", {})
    return {
        "runs": len(records),
        "problems": results.problems,
        "samplers": results.runs["label"].nunique() if records else 0,
        "seeds": int(results.runs["seed"].nunique()) if records else 0,
        "created": str(newest.get("created", ""))[:10],
        "commit": str(environment.get("commit", ""))[:10],
        "cpu": environment.get("cpu", ""),
        "device": environment.get("device", ""),
    }


def explorer(results: Results) -> dict[str, Any]:
    """What the table of results is built from: an entry for each arm at a budget, metrics inside."""
    environments: list[str] = []
    cells = []
    look = looks(tuple(sorted(results.runs["sampler"].unique())))
    grouped = groups(results.runs, ARM) if len(results.runs) else ()
    values = dict(groups(results.values, ARM)) if len(results.runs) else {}
    for (problem, label, nfe), runs in grouped:
        runs = runs.sort_values("seed")
        first = results.records[runs["key"].iloc[0]]
        environment = json.dumps(first.get("environment", {}), sort_keys=True)
        if environment not in environments:
            environments.append(environment)
        cells.append(
            {
                "problem": problem,
                "label": title(label),
                "options": str(runs["options"].iloc[0]),
                "family": FAMILIES[family(label)],
                "colour": look[label.partition(" ")[0]].colour,
                "rank": rank(label)[:2],
                "nfe": int(nfe),
                "counted": int(runs["nfe_counted"].max()),
                "seeds": runs["seed"].tolist(),
                "keys": runs["key"].tolist(),
                "fit": _short(float(runs["fit_seconds"].mean())),
                "sampling": _short(float(runs["sampling_seconds"].mean())),
                "environment": environments.index(environment),
                "config": {k: v for k, v in first["config"].items() if k != "seed"},
                "info": {k: v for k, v in ((first.get("fit") or {}).get("info") or {}).items() if k != "history"},
                "command": command(first, runs["seed"].tolist()),
                "values": _values(values[problem, label, nfe]),
            }
        )
    named = {name: vars(metric(name)) for name in _metrics(results)}
    return {"cells": cells, "environments": [json.loads(e) for e in environments], "metrics": named}


def command(record: dict[str, Any], seeds: Sequence[int]) -> str:
    """The command line that makes these runs again."""
    config = record["config"]
    parts = [
        "python",
        "-m",
        "benchmark.run",
        "--problem",
        config["problem"]["name"],
        "--sampler",
        config["sampler"]["name"],
    ]
    parts += ["--nfe", str(config["nfe"]), "--seeds", *map(str, seeds), "--samples", str(config["samples"])]
    settings = [f"{name}={value}" for name, value in (record.get("changed") or {}).items()]
    settings += [f"problem.{name}={value}" for name, value in config["problem"].get("options", {}).items()]
    if settings:
        parts += ["--set", *settings]
    return shlex.join([*parts, "--force"])


def _values(rows: Any) -> dict[str, list[Any]]:
    """Metric -> [mean, low, high, [value of each seed], note]."""
    out = {}
    for name, group in rows.sort_values("seed").groupby("metric", sort=False):
        interval = mean_interval(group["value"])
        shown = [_short(v) for v in (interval.mean, interval.low, interval.high)]
        out[str(name)] = [*shown, [_short(v) for v in group["value"]], str(group["note"].iloc[0] or "")]
    return out


def _meanings(results: Results) -> dict[str, str]:
    """What each metric is, for the page; rates of mode mixture share one line."""
    levels = [name for name in _metrics(results) if mixture_level(name) is not None]
    found = {metric(name).label: metric(name).meaning for name in _metrics(results) if name not in levels}
    if levels:
        found["mixture (λ)"] = "share of samples for which at least two classes have probability λ or more"
    return {label: meaning for label, meaning in found.items() if meaning}


def _metrics(results: Results) -> list[str]:
    return list(results.values["metric"].unique()) if len(results.values) else []


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None


def _failure(record: dict[str, Any]) -> dict[str, Any]:
    config = record["config"]
    seeds = {"problem": config["problem"]["name"], "sampler": title(config["sampler"]["name"]), "nfe": config["nfe"]}
    return {**seeds, "seed": config["seed"], "error": record.get("error") or "no reason recorded"}


def _embedded(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


@cache
def _environment() -> Environment:
    loader = PackageLoader("benchmark.report", "page")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["inline"] = lambda name: Markup(loader.get_source(environment, name)[0])
    return environment
