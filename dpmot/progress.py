"""Progress bars: lively on a terminal, a line now and then in a log."""

import math
import sys
from typing import Any

from tqdm import tqdm

SECONDS = 10.0
"""Between two lines of a log at least; work that takes less leaves none."""


class _Log(tqdm):
    """A bar that keeps to `SECONDS` also where its description changes, which tqdm shows at once."""

    shown = -math.inf

    def display(self, msg: str | None = None, pos: int | None = None) -> bool | None:
        """Write the bar; a call without arguments asks for a refresh, any other comes at the end."""
        if msg is None and pos is None:
            now = self._time()
            if now - max(getattr(self, "start_t", now), self.shown) < SECONDS:
                return None
            self.shown = self.last_print_t = now  # so that the end of a bar that was seen ends its line
        return super().display(msg, pos)


def progress_bar(*args: Any, **options: Any) -> Any:
    """Make a bar of tqdm, whose arguments these are.

    Where standard error is no terminal every refresh would be a line of its own, ten a second.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        return _Log(*args, **{"mininterval": SECONDS, "delay": SECONDS, **options})
    return tqdm(*args, **options)
