"""Each peer's best setting at each level, in times of dpmot's seconds, over all races on a problem and machine."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import markdown
from .race import ENDED, reached

GOAL = 10.0  # times dpmot's seconds: peers that needed less are set in bold, those that were given less in italics
ALIKE = 0.95  # seconds nearer to each other than this are said as one

LEGEND = (
    "The first table of a section sums up those below it. ×20 (S): of a peer's settings S came first, after 20 times "
    "the seconds that dpmot took in the same race; bold if less than ten. > ×20: none came, and the setting with most "
    "time had so much; in italics if less than ten. Others > ×3: the others were stopped earlier than that, after 3 "
    "times dpmot's seconds at least, and might have been faster. Its schedule ended: by itself, before it came there. "
    "A race that did not go down to a level is compared with dpmot's seconds of one that did. dpmot became faster "
    "between races: its seconds are those of the newest code that was raced there, and of runs of a setting that are "
    "alike to 5% the latest counts."
)


@dataclass(frozen=True)
class Run:
    """What one run of a peer says of one level: its seconds, and dpmot's, until it came there, ended or was stopped."""

    setting: str
    seconds: float
    unit: float
    came: bool
    ended: bool  # by itself, without coming there
    finished: str  # when its race was

    @property
    def times(self) -> float:
        return self.seconds / self.unit


def table(records: list[dict[str, Any]]) -> list[str]:
    """Rows for dpmot's seconds, its certificates' part of them, and every peer. records: races alike but for peers."""
    levels = sorted({run["level"] for record in records for run in _mine(record)}, reverse=True)
    peers = sorted({run["solver"] for record in records for run in record["runs"]} - {"dpmot"})
    at = [_newest(records, level) for level in levels]
    rows = [
        ["**dpmot**, seconds", *(_range([run["seconds"] for run in runs]) for runs in at)],
        ["of which its certificate", *(_range([run["phases"]["certificate"] for run in runs]) for runs in at)],
        *([f"{peer}, × dpmot", *(_cell(records, peer, level) for level in levels)] for peer in peers),
    ]
    head = ["TV ≤", *(f"{level:.0%}" for level in levels)]
    return markdown.table(head, rows)


def more_than(times: float) -> str:
    """`> ×9.97`: rounded down to three digits, as a lower bound must be."""
    digits = 10.0 ** (2 - math.floor(math.log10(times)))
    return f"> ×{short(math.floor(times * digits + 1e-9) / digits)}"


def short(times: float) -> str:
    """Three digits, without an exponent."""
    return f"{times:.3g}" if times < 1000 else f"{times:,.0f}"


def _range(seconds: list[float]) -> str:
    if not seconds:
        return "not reached"
    low, high = min(seconds), max(seconds)
    return f"{high:.3g}" if low > ALIKE * high else f"{low:.3g}–{high:.3g}"


def _cell(records: list[dict[str, Any]], peer: str, level: float) -> str:
    """How many times dpmot's seconds the setting took that came first, or more than how many where none came."""
    every = [run for record in records for run in record["runs"] if run["solver"] == peer]
    if not any(_seconds(record, level) for record in records):
        return "–"
    runs = list(_runs(records, peer, level))
    came = [run for run in runs if run.came]
    if not runs:
        return "failed" if any(run["error"] for run in every) else "–"
    best = _best(came) if came else _best(runs, longest=True)
    others = {run.setting for run in runs} - {run.setting for run in runs if run.came or run.ended} - {best.setting}
    longest = [max((run for run in runs if run.setting == one), key=lambda run: run.seconds) for one in others]
    shorter = [run.times for run in longest if run.seconds < ALIKE * best.seconds]
    if best.ended:
        said, mark = f"its schedule ended at ×{short(best.times)}", ""
    else:
        said, mark = (f"×{short(best.times)}", "**") if came else (more_than(best.times), "*")
    said = f"{mark}{said}{mark}" if best.times < GOAL else said
    said += f" ({best.setting})" if (came or best.ended) and len({run["setting"] for run in every}) > 1 else ""
    return f"{said}; others {more_than(min(shorter))}" if shorter else said


def _best(runs: list[Run], longest: bool = False) -> Run:
    """The run with the least seconds, or the longest; of those alike the latest."""
    first = (max if longest else min)(runs, key=lambda run: run.seconds)
    own = [run for run in runs if run.setting == first.setting]
    return max((r for r in own if ALIKE <= r.seconds / first.seconds <= 1 / ALIKE), key=lambda run: run.finished)


def _mine(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [run for run in record["runs"] if run["solver"] == "dpmot"]


def of_newest_code(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records of the commit that the last of them was made by."""
    newest = max(records, key=lambda record: record["finished"], default=None)
    return [record for record in records if newest and record["machine"]["commit"] == newest["machine"]["commit"]]


def _newest(records: list[dict[str, Any]], level: float) -> list[dict[str, Any]]:
    """dpmot's runs that came to the level, by the newest code of those."""
    newest = of_newest_code([record for record in records if _seconds(record, level)])
    return [run for record in newest for run in _mine(record) if run["level"] == level and run["converged"]]


def _runs(records: list[dict[str, Any]], peer: str, level: float) -> Iterator[Run]:
    """The peer's runs that say something of the level: not those that failed, or were after a higher one."""
    usual = _newest(records, level)[0]["seconds"]
    for record in records:
        unit = _seconds(record, level) or usual
        aimed = min((run["level"] for run in _mine(record)), default=level)
        for run in record["runs"]:
            if run["solver"] == peer and run["curve"]:
                point, ended = reached(run["curve"], level), run["error"] == ENDED
                seconds = point[0] if point else run["curve"][-1]["seconds"]
                if point or ended or not (run["error"] or reached(run["curve"], aimed)):
                    yield Run(run["setting"], seconds, unit, bool(point), ended and not point, record["finished"])


def _seconds(record: dict[str, Any], level: float) -> float | None:
    """dpmot's to the level in this race, if it came there."""
    return next((run["seconds"] for run in _mine(record) if run["level"] == level and run["converged"]), None)
