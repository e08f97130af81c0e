"""Progress where there is no terminal."""

import io
import sys

from dpmot import progress
from dpmot.progress import progress_bar


def log_to_file(monkeypatch):
    """Send standard error to a file; in the test itself, since pytest sets it anew before each."""
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    return file


def test_short_work_leaves_no_line_in_a_log(monkeypatch):
    log = log_to_file(monkeypatch)
    assert sum(progress_bar(range(100_000))) == sum(range(100_000))
    assert log.getvalue() == ""


def test_long_work_leaves_a_line_now_and_then(monkeypatch):
    """As many as intervals, though the bar is moved on far more often, by a clock that the test sets."""
    log = log_to_file(monkeypatch)
    monkeypatch.setattr(progress, "SECONDS", 10.0)
    now = [0.0]
    with progress_bar(total=1000) as bar:
        bar._time = lambda: now[0]
        bar.start_t = bar.last_print_t = 0.0
        for _ in range(1000):
            now[0] += 0.1
            bar.update()
    assert 5 <= log.getvalue().count("it/s") <= 12


def test_a_description_that_changes_leaves_no_line_either(monkeypatch):
    """An error that follows must begin a line."""
    log = log_to_file(monkeypatch)
    with progress_bar(total=3) as bar:
        for name in "abc":
            bar.set_description(name)
            bar.update()
    assert log.getvalue() == ""


def test_a_bar_that_was_seen_ends_its_line(monkeypatch):
    log = log_to_file(monkeypatch)
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    with progress_bar(total=3) as bar:
        for name in "abc":
            bar.set_description(name)
    lines = log.getvalue()
    assert all(f"{name}:" in lines for name in "abc") and lines.endswith("\n")


def test_a_terminal_is_shown_every_step(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    for _ in progress_bar(range(3), mininterval=0):
        pass
    assert terminal.getvalue().count("\r") >= 3
