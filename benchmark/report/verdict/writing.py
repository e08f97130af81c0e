"""The verdict for people (`verdict.md`) and for machines (`verdict.json`)."""

import json
import math
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from benchmark.metrics.registry import quantity
from benchmark.report.arms import Arm
from benchmark.report.comparing import Comparison
from benchmark.report.numbers import with_ends
from benchmark.report.verdict.claim import Verdict
from benchmark.report.verdict.judging import QUESTION, headline, in_numbers
from benchmark.report.verdict.rules import RULES
from dpmot.bench.markdown import table

COLUMNS = ("problem", "metric", "arm", "against", "NFE", "seeds", "values", "contrast, 95%", "margin", "p", "outcome")


def write(verdicts: Sequence[Verdict], beside: Sequence[str], out: Path) -> None:
    """`verdict.md` and `verdict.json` in `out`; `beside`: what to keep in mind with every verdict."""
    (out / "verdict.md").write_text(as_markdown(verdicts, beside))
    (out / "verdict.json").write_text(json.dumps(as_json(verdicts, beside), indent=1, ensure_ascii=False) + "\n")


def as_json(verdicts: Sequence[Verdict], beside: Sequence[str]) -> dict[str, Any]:
    """The verdicts for machines; what is not a number becomes null."""
    claims = [
        {"claim": v.claim.name, "statement": v.claim.statement, "rule": v.claim.rule, **_plain(v.finding)}
        for v in verdicts
    ]
    return {
        "question": QUESTION,
        "answer": headline(verdicts),
        "in_numbers": in_numbers(verdicts),
        "beside": list(beside),
        "rules": list(RULES),
        "claims": claims,
    }


def _plain(value: Any) -> Any:
    """A value as JSON has it: arms by their labels, dataclasses as objects, numbers to six digits."""
    if isinstance(value, Arm):
        return value.label
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def as_markdown(verdicts: Sequence[Verdict], beside: Sequence[str]) -> str:
    """The verdicts for people."""
    summary = [[v.claim.name, v.claim.statement, f"**{v.finding.in_a_word()}**"] for v in verdicts]
    lines = [
        "# Verdict",
        "",
        QUESTION,
        "",
        f"**{headline(verdicts)}** {in_numbers(verdicts)}".rstrip(),
        "",
        *table(["claim", "", "verdict"], summary),
        "",
        *(f"- {text}" for text in beside),
    ]
    for v in verdicts:
        lines += _section(v)
    lines += ["", "## Rules", "", *(f"- {rule}" for rule in RULES)]
    return "\n".join(lines) + "\n"


def _section(v: Verdict) -> list[str]:
    """The lines of one claim: verdict, rule, caveats, what would settle it, and comparisons."""
    found = v.finding
    lines = [
        "",
        f"## {v.claim.name}: {v.claim.statement}",
        "",
        f"**{found.in_a_word().capitalize()}.** {found.decided_by}",
        "",
        v.claim.rule,
        "",
        *(f"- {text}" for text in found.caveats),
        *(f"- To settle it: `{text}`" for text in found.needs),
    ]
    if found.comparisons:
        lines += ["", *table(COLUMNS, map(row, found.comparisons))]
    return lines


def row(c: Comparison) -> list[str]:
    """A comparison as cells of `COLUMNS`."""
    return [
        c.problem,
        quantity(c.metric).label,
        c.arm.title,
        c.against.title if c.scale == 1 else f"{c.scale:g} × {c.against.title}",
        f"{c.nfe}" if c.nfe == c.against_nfe else f"{c.nfe}, {c.against_nfe}",
        str(c.seeds),
        f"{c.first:.3g}, {c.second:.3g}",
        with_ends(c.difference, c.low, c.high),
        _margin(c),
        f"{c.p:.2g}",
        _outcome(c),
    ]


def _margin(c: Comparison) -> str:
    """The margin, with its share of the second value; ± where it holds on both sides."""
    if c.margin == 0:
        return ""
    bound = f"{c.margin:.3g}" if c.test == "difference" else f"±{c.margin:.3g}"
    return bound if math.isnan(c.share) else f"{bound} ({c.share:.0%})"


def _outcome(c: Comparison) -> str:
    """The outcome, against the margin where it was tested against one; in brackets where it decides nothing."""
    against_margin = {"better": "within", "worse": "beyond"} if c.margin and c.test == "difference" else {}
    said = against_margin.get(c.outcome, c.outcome)
    return said if c.deciding else f"({said})"
