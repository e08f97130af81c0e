"""Carries out cells and keeps a record of each; skips finished ones, stops at a violation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmark.bound.grid import Cell
from benchmark.bound.measure import measure, violated
from benchmark.records import environment
from benchmark.records.record import SCHEMA
from benchmark.records.store import RecordFolder
from benchmark.running.executors import carry_out
from dpmot.progress import progress_bar

CHUNK = 6
"""Cells a process takes at once: few, so that the bar moves, but some, since neighbours share samples and flows."""
NEEDS = ("schema", "key", "config", "terms", "realised", "details", "measured")
"""What a record of a cell holds at least."""
Record = dict[str, Any]


class Violation(RuntimeError):
    """A cell whose error exceeds its bound: a bug or a finding."""

    def __init__(self, cell: Cell, record: Record) -> None:
        measured = record["measured"]
        super().__init__(
            f"the bound is violated in the cell '{cell}' ({cell.key()[:12]}): measured W2 {measured['value']:.6g}, "
            f"upper limit {measured['high']:.6g}, bound {record['bound']:.6g}"
        )


def cells_in(folder: Path) -> RecordFolder:
    """The records of cells below the study's folder."""
    return RecordFolder(folder / "cells", lambda config: config["cell"]["mixture"], NEEDS)


def read(folder: Path) -> list[Record]:
    """Every readable record of this version, in the order of the file names."""
    return [record for record in cells_in(folder).read() if _is_of_this_version(record)]


def _is_of_this_version(record: Record) -> bool:
    try:
        return bool(Cell(**record["config"]["cell"]).key() == record["key"])
    except (KeyError, TypeError):  # of other fields, or on a mixture that is no more
        return False


def execute(cell: Cell) -> Record:
    """Measure a cell: its record."""
    return {
        "schema": SCHEMA,
        "key": cell.key(),
        "config": cell.config(),
        **measure(cell),
        "environment": environment.describe(),
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def run(cells: Sequence[Cell], folder: Path, jobs: int = 1, force: bool = False) -> None:
    """Measure the cells that have no record yet.

    Raises:
        Violation: at the first cell, old or new, whose upper limit exceeds the bound; its record is kept.
    """
    todo = cells if force else unfinished(cells, cells_in(folder))
    if len(todo) < len(cells):
        print(f"{len(cells) - len(todo)} of {len(cells)} cells are finished and skipped (--force repeats them)")
    with progress_bar(total=len(todo), unit="cell", dynamic_ncols=True, disable=not todo) as bar:
        for cell, record in carry_out(Measuring(folder), neighbours(todo), jobs):
            bar.set_description(cell.mixture, refresh=False)
            bar.update()
            if violated(record):
                raise Violation(cell, record)


def unfinished(cells: Sequence[Cell], kept: RecordFolder) -> list[Cell]:
    """Those without a record.

    Raises:
        Violation: at the first finished cell whose upper limit exceeds the bound.
    """
    left = []
    for cell in cells:
        record = kept.find(cell.config())
        if record is None:
            left.append(cell)
        elif violated(record):
            raise Violation(cell, record)
    return left


def neighbours(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Groups of cells that share samples and flows."""
    alike = [list(group) for _, group in groupby(cells, lambda cell: (cell.mixture, cell.level))]
    return [group[start : start + CHUNK] for group in alike for start in range(0, len(group), CHUNK)]


@dataclass(frozen=True)
class Measuring:
    """Measures a cell and keeps its record below `folder`."""

    folder: Path

    def __call__(self, cell: Cell) -> tuple[Cell, Record]:
        record = execute(cell)
        cells_in(self.folder).save(record)
        return cell, record
