"""`index.html`: one file with verdict, figures, every result and how it was made; nothing is loaded from elsewhere."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from benchmark.report.arms import Arm
from benchmark.report.page.explorer import explorer, meanings
from benchmark.report.results import Results
from benchmark.report.tables.table import Table
from benchmark.report.verdict.claim import Verdict
from benchmark.report.verdict.context import context
from benchmark.report.verdict.judging import QUESTION, headline, in_numbers
from benchmark.report.verdict.rules import RULES
from benchmark.report.verdict.writing import COLUMNS, row


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
    template = _environment().get_template("page.html.j2")
    page = template.render(
        question=QUESTION,
        answer=headline(verdicts),
        in_numbers=in_numbers(verdicts),
        facts=facts(results),
        verdicts=verdicts,
        columns=COLUMNS,
        row=row,
        beside=context(results),
        rules=RULES,
        pictures=[(p, _embedded(out / "figures" / f"{p.name}.png")) for p in pictures],
        tables=tables,
        metrics=meanings(results),
        failed=[_failure(record) for record in results.failed],
        superseded=results.superseded,
        data=explorer(results),
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
        "samplers": results.runs["arm"].nunique() if records else 0,
        "seeds": int(results.runs["seed"].nunique()) if records else 0,
        "created": str(newest.get("created", ""))[:10],
        "commit": str(environment.get("commit", ""))[:10],
        "cpu": environment.get("cpu", ""),
        "device": environment.get("device", ""),
    }


def _failure(record: dict[str, Any]) -> dict[str, Any]:
    """A failed run as the page shows it."""
    config = record["config"]
    return {
        "problem": config["problem"]["name"],
        "sampler": Arm(config["sampler"]["name"]).title,
        "nfe": config["nfe"],
        "seed": config["seed"],
        "error": record.get("error") or "no reason recorded",
    }


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
