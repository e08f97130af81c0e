"""Progress bars: lively on a terminal, a line now and then in a log."""

import sys
from typing import Any

from tqdm import tqdm

SECONDS = 10.0
"""Between two lines of a log at least; work that takes less leaves none."""


def progress_bar(*args: Any, **options: Any) -> Any:
    """Make a bar of tqdm, whose arguments these are.

    Where standard error is no terminal every refresh would be a line of its own, ten a second.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        options = {"mininterval": SECONDS, "delay": SECONDS, **options}
    return tqdm(*args, **options)
