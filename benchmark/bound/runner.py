"""Carries out cells on several processes and keeps a record of each; skips finished ones, stops at a violation."""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmark.bound.grid import Cell
from benchmark.bound.measure import measure, violated
from benchmark.records import environment
from benchmark.running.processes import processes

SCHEMA = 1
CHUNK = 6
"""Cells a process takes at once: few, so that the bar moves, but some, since neighbours share samples and flows."""
Record = dict[str, Any]


class Violation(RuntimeError):
    """A cell whose error exceeds its bound: a bug or a finding."""

    def __init__(self, cell: Cell, record: Record) -> None:
        measured = record["measured"]
        super().__init__(
            f"the bound is violated in the cell '{cell}' ({cell.key()[:12]}): measured W2 {measured['value']:.6g}, "
            f"upper limit {measured['high']:.6g}, bound {record['bound']:.6g}"
        )


def path(folder: Path, cell: Cell) -> Path:
    """Where the record of a cell is."""
    return folder / "cells" / f"{cell.mixture}-{cell.key()[:12]}.json"


def finished(folder: Path, cell: Cell) -> Record | None:
    """The record of a cell that was measured before, else None (a damaged one is measured again)."""
    try:
        record = json.loads(path(folder, cell).read_text())
        return record if record["schema"] == SCHEMA and record["key"] == cell.key() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read(folder: Path) -> list[Record]:
    """Every readable record of this version, in the order of the file names."""
    records = []
    for file in sorted((folder / "cells").glob("*.json")):
        try:
            cell = Cell(**json.loads(file.read_text())["config"]["cell"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        record = finished(folder, cell)
        if record is not None and path(folder, cell) == file:
            records.append(record)
    return records


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


def save(folder: Path, cell: Cell, record: Record) -> None:
    """Write a record to a temporary file and rename it."""
    target = path(folder, cell)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".")
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(record, indent=1) + "\n")
    Path(temporary).chmod(0o644)
    Path(temporary).replace(target)


def run(cells: Sequence[Cell], folder: Path, jobs: int = 1, force: bool = False) -> None:
    """Measure the cells that have no record yet.

    Raises:
        Violation: at the first cell, old or new, whose upper limit exceeds the bound; its record is kept.
    """
    todo = []
    for cell in cells:
        record = None if force else finished(folder, cell)
        if record is None:
            todo.append(cell)
        elif violated(record):
            raise Violation(cell, record)
    if len(todo) < len(cells):
        print(f"{len(cells) - len(todo)} of {len(cells)} cells are finished and skipped (--force repeats them)")
    with tqdm(total=len(todo), unit="cell", dynamic_ncols=True, disable=not todo) as bar:
        for cell, record in _measured(todo, folder, jobs):
            bar.set_description(cell.mixture)
            bar.update()
            if violated(record):
                raise Violation(cell, record)


def _measured(cells: Sequence[Cell], folder: Path, jobs: int) -> Iterator[tuple[Cell, Record]]:
    """Cells with their records, kept, as they come."""
    if jobs == 1:
        for cell in cells:
            yield from _group([cell], folder)
        return
    groups = [list(group) for _, group in groupby(cells, lambda cell: (cell.mixture, cell.level))]
    groups = [group[start : start + CHUNK] for group in groups for start in range(0, len(group), CHUNK)]
    with processes(jobs) as pool:
        for future in as_completed([pool.submit(_group, group, folder) for group in groups]):
            yield from future.result()


def _group(cells: Sequence[Cell], folder: Path) -> list[tuple[Cell, Record]]:
    """Measure cells that share samples and flows, up to the first violation; each record is kept at once."""
    done = []
    for cell in cells:
        record = execute(cell)
        save(folder, cell, record)
        done.append((cell, record))
        if violated(record):
            break
    return done
