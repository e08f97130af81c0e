"""The verdict on claims C1 to C5: each supported, not supported or undecided, with the test that decided."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmark.report.comparing import GAIN_MARGIN, RULES, Comparison
from benchmark.report.names import metric, title
from benchmark.report.results import Results
from benchmark.report.verdict.claims import CLAIMS, NOT_SUPPORTED, SUPPORTED, UNDECIDED, Verdict
from benchmark.report.verdict.wording import added

QUESTION = (
    "DPM-OT replaces most of a diffusion model's reverse trajectory by one optimal transport map. Does the map help?"
)

_ANSWERS = {
    SUPPORTED: "Yes: the transport map does better than drawing one of the same stored latents at random.",
    NOT_SUPPORTED: f"No: it adds less than {GAIN_MARGIN:.0%} to what drawing the same stored latents at random gains "
    "over DDIM.",
    UNDECIDED: "Not decided yet: these results do not tell the transport map from a random draw of its stored latents.",
}


def judge(results: Results) -> list[Verdict]:
    """The verdicts on all claims, in order."""
    return [claim(results) for claim in CLAIMS]


def headline(verdicts: Sequence[Verdict]) -> str:
    """The answer to `QUESTION` in one sentence, from the verdict on C4."""
    return _ANSWERS[next((v.status for v in verdicts if v.claim == "C4"), UNDECIDED)]


def in_numbers(verdicts: Sequence[Verdict]) -> str:
    """What the map adds to what a random latent gains over DDIM; empty where nothing is known of it."""
    known = added([c for v in verdicts if v.claim == "C4" for c in v.comparisons if c.deciding])
    shares = f"As a share of a random latent's gain over DDIM the map adds {known}"
    return f"{shares} (95% intervals, the gain taken at its mean)." if known else ""


def as_json(verdicts: Sequence[Verdict], beside: Sequence[str]) -> dict[str, Any]:
    """The verdicts for machines; what is not a number becomes null."""

    def clean(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.6g}") if math.isfinite(value) else None
        if isinstance(value, dict):
            return {k: clean(v) for k, v in value.items()}
        return [clean(v) for v in value] if isinstance(value, (list, tuple)) else value

    return {
        "question": QUESTION,
        "answer": headline(verdicts),
        "in_numbers": in_numbers(verdicts),
        "beside": list(beside),
        "rules": list(RULES),
        "claims": [clean(asdict(v)) for v in verdicts],
    }


def as_markdown(verdicts: Sequence[Verdict], beside: Sequence[str]) -> str:
    """The verdicts for people."""
    lines = [
        "# Verdict",
        "",
        QUESTION,
        "",
        f"**{headline(verdicts)}** {in_numbers(verdicts)}".rstrip(),
        "",
        "| claim | | verdict |",
        "|---|---|---|",
    ]
    lines += [f"| {v.claim} | {v.statement} | **{verdict_word(v)}** |" for v in verdicts]
    lines += ["", *(f"- {text}" for text in beside)]
    for v in verdicts:
        lines += [
            "",
            f"## {v.claim}: {v.statement}",
            "",
            f"**{verdict_word(v).capitalize()}.** {v.decided_by}",
            "",
            v.rule,
            "",
        ]
        lines += [f"- {text}" for text in v.caveats]
        lines += [f"- To settle it: `{text}`" for text in v.needs]
        if v.comparisons:
            lines += ["", "| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
            lines += ["| " + " | ".join(row(c)) + " |" for c in v.comparisons]
    lines += ["", "## Rules", "", *(f"- {rule}" for rule in RULES)]
    return "\n".join(lines) + "\n"


def verdict_word(v: Verdict) -> str:
    """The status, with the remark on a claim that is decided."""
    return f"{v.status}, {v.remark}" if v.remark and v.status != UNDECIDED else v.status


COLUMNS = ("problem", "metric", "arm", "against", "NFE", "seeds", "values", "contrast, 95%", "margin", "p", "outcome")


def row(c: Comparison) -> list[str]:
    """A comparison as cells of `COLUMNS`."""
    nfe = f"{c.nfe}" if c.nfe == c.against_nfe else f"{c.nfe}, {c.against_nfe}"
    against = title(c.against) if c.scale == 1 else f"{c.scale:g} × {title(c.against)}"
    bound = "" if c.margin == 0 else f"±{c.margin:.3g}" if c.test != "difference" else f"{c.margin:.3g}"
    bound += "" if math.isnan(c.share) else f" ({c.share:.0%})"
    cells = [c.problem, metric(c.metric).label, title(c.arm), against, nfe, str(c.seeds)]
    cells += [f"{c.first:.3g}, {c.second:.3g}", f"{c.difference:+.2g} [{c.low:+.2g}, {c.high:+.2g}]", bound]
    said = {"better": "within", "worse": "beyond"} if c.margin and c.test == "difference" else {}
    outcome = said.get(c.outcome, c.outcome)
    return [*cells, f"{c.p:.2g}", outcome if c.deciding else f"({outcome})"]


def write(verdicts: Sequence[Verdict], beside: Sequence[str], out: Path) -> None:
    """`verdict.md` and `verdict.json` in `out`; `beside`: what to keep in mind with every verdict."""
    (out / "verdict.md").write_text(as_markdown(verdicts, beside))
    (out / "verdict.json").write_text(json.dumps(as_json(verdicts, beside), indent=1, ensure_ascii=False) + "\n")
