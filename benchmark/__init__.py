"""Runs samplers on problems, measures, stores, and reports."""

import os
import sys
from types import TracebackType

# POT starts JAX where that is installed, and JAX would take most of a GPU's memory at once.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def _interrupted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say in one line that Ctrl-C ended the command; other errors keep their traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted: the same command begins anew", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.argv[:1] == ["-m"]:  # a command that is still importing; later its own `run_command` takes Ctrl-C
    sys.excepthook = _interrupted
