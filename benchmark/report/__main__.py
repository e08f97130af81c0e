"""Command line of the report."""

import argparse
import os
import sys
from pathlib import Path

from benchmark.report import ReportError, build


def main(arguments: list[str] | None = None) -> int:
    """Make the report; the exit code: 0, or 2 for what the user has to put right."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmark.report",
        description="Make tables (CSV, Markdown, LaTeX), figures (PNG, PDF), the verdict on claims C1 to C5 and a "
        "self-contained web page from the records of a results folder. Nothing is run again.",
    )
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder with the records (default: results)"
    )
    parser.add_argument("--out", type=Path, help="where to write (default: the results folder)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes that draw figures")
    options = parser.parse_args(arguments)
    try:
        page = build(options.results, options.out, progress=sys.stderr.isatty(), jobs=options.jobs)
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    folder = page.parent
    print(f"{page}\n{folder / 'verdict.md'}\n{folder / 'tables'}/\n{folder / 'figures'}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
