"""The main job in one command: runs, the quick study of the error bound, and the page made of both.

    python -m benchmark                         the quick suite, two runs at a time
    python -m benchmark --sampler ddim          runs of your own, and their page

It takes the options of `python -m benchmark.run`. The study of the bound goes with suites. With --list or --dry-run
nothing but the first step is done.
"""

import sys
from collections.abc import Sequence

from benchmark import run
from benchmark.bound import __main__ as bound
from benchmark.report import __main__ as report

MAIN_JOB = ("--suite", "quick", "--jobs", "2")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: that of the first step that does not end well, else 0."""
    argv = list(sys.argv[1:] if argv is None else argv) or list(MAIN_JOB)
    options = run.parser().parse_args(argv)
    code = run.main(argv)
    if code or options.list or options.dry_run:
        return code
    if options.suite and (code := bound.main(["--quick", "--out", options.out])):
        return code
    return report.main(["--results", options.out, "--out", options.out])


if __name__ == "__main__":
    sys.exit(main())
