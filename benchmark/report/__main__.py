"""Make tables (CSV, Markdown, LaTeX), figures (PNG, PDF), the verdict on claims C1 to C5 and a self-contained web page.

They are made from the records of a results folder; nothing is run again.
"""

import argparse
import os
import sys
from pathlib import Path

from benchmark.commands import command_line, positive, run_command
from benchmark.report.building import build


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, 2 for what the user has to put right, 130 interrupted."""
    parser = command_line("benchmark.report", __doc__)
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder with the records (default: results)"
    )
    parser.add_argument("--out", type=Path, help="where to write (default: the results folder)")
    parser.add_argument("--jobs", type=positive, default=min(2, os.cpu_count() or 1), help="processes drawing figures")
    return run_command(make, parser.parse_args(arguments), interrupted="the same command makes everything anew")


def make(options: argparse.Namespace) -> None:
    """Make the report and say where it is."""
    page = build(options.results, options.out, progress=sys.stderr.isatty(), jobs=options.jobs)
    folder = page.parent
    print(f"{page}\n{folder / 'verdict.md'}\n{folder / 'tables'}/\n{folder / 'figures'}/")


if __name__ == "__main__":
    sys.exit(main())
