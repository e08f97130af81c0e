"""Put our error bound, of the paper's form, to the test: the error and every term, on mixtures where all are known.

    python -m benchmark.bound                         the whole grid
    python -m benchmark.bound --quick                 a part of it that touches every factor and term
    python -m benchmark.bound --mixture overlapping-8 digits-64
    python -m benchmark.bound --networks cifar10      the terms on a trained network (a GPU is the place for it)
    python -m benchmark.bound --tables-only           tables, figures and verdict of the records that are there

The whole grid also measures, on the project's trained networks, the terms that can be measured there (networks.md).

Records go to OUT/bound/cells/, tables, figures and the verdict on claim C5 to OUT/bound/. Finished cells are skipped,
so an interrupted command is continued by giving it again. A cell whose error exceeds its bound stops the run, and is
named. The statement and its proof: results/bound/BOUND.md.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark.bound import figures, grid, networks, runner, slopes, tables
from benchmark.bound.mixtures import MIXTURES, mixture
from benchmark.commands import command_line, positive, run_command
from benchmark.records.store import writable
from samplers.errors import UserError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = command_line("benchmark.bound", __doc__)
    add = arguments.add_argument
    add("--quick", action="store_true", help="a part of the grid, within a minute on two cores")
    add("--mixture", nargs="+", metavar="NAME", help=f"only these: {', '.join(MIXTURES)}")
    add("--out", default="local-results", metavar="DIR", help="results folder (default local-results)")
    add(
        "--networks",
        nargs="+",
        choices=networks.NETWORKS,
        metavar="NAME",
        help=f"only the terms on these trained networks: {', '.join(networks.NETWORKS)}",
    )
    add(
        "--jobs",
        type=positive,
        default=min(os.cpu_count() or 1, 8),
        metavar="N",
        help="processes (default: the cores, at most 8)",
    )
    add("--force", action="store_true", help="measure finished cells again")
    add("--tables-only", action="store_true", help="measure nothing")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 the bound holds in every cell, 1 it is violated in one, 2 bad input, 130 interrupted."""
    return run_command(
        study,
        parser().parse_args(argv),
        interrupted="finished cells are kept; the same command goes on from here",
    )


def study(arguments: argparse.Namespace) -> int:
    """Measure what has no record yet, and make tables, figures and the verdict of all records."""
    folder = Path(arguments.out) / "bound"
    for name in arguments.mixture or ():
        mixture(name)
    writable(Path(arguments.out))  # complains where nothing can be written, before anything is measured
    if arguments.networks:
        return on_networks(arguments.networks, folder, arguments.force)
    cells = grid.quick_grid() if arguments.quick else grid.full_grid()
    cells = [cell for cell in cells if not arguments.mixture or cell.mixture in arguments.mixture]
    if arguments.tables_only:
        return report(folder)
    try:
        runner.run(cells, folder, arguments.jobs, arguments.force)
    except runner.Violation as violation:
        print(f"error: {violation}", file=sys.stderr)
        return 1
    if not arguments.quick and not arguments.mixture:
        on_networks(networks.NETWORKS, folder, arguments.force)
    return report(folder)


def on_networks(names: Sequence[str], folder: Path, force: bool) -> int:
    """The terms that can be measured on trained networks; 1 where a network cannot be used."""
    found, left_out = networks.usable(names)
    for reason in left_out:
        print(f"left out: terms on the network of {reason}")
    networks.run(found, folder, force)
    return int(bool(left_out))


def report(folder: Path) -> int:
    """Tables, figures and verdict of all records in the folder."""
    records = runner.read(folder)
    if not any(record["measured"] for record in records):
        raise UserError(f"no records in {folder / 'cells'}: run python -m benchmark.bound first")
    cells = tables.frame(records)
    fitted = slopes.slopes(cells)
    tables.write(cells, fitted, folder)
    figures.write(cells, fitted, folder)
    found = tables.verdict(cells, fitted)
    print(f"C5 {found['verdict']}: {found['evidence']}")
    print(f"tables, figures and verdict in {folder}")
    return int(found["violations"] > 0)


if __name__ == "__main__":
    sys.exit(main())
