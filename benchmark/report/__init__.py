"""Tables, figures, the verdict and the web page, made from the records of a results folder alone."""

from pathlib import Path

from samplers.errors import UserError

__all__ = ["ReportError", "build"]


class ReportError(UserError):
    """The report can't be made; the message is one line for the user."""


def build(results: Path | str, out: Path | str | None = None, progress: bool = False, jobs: int = 1) -> Path:
    """Make `tables/`, `figures/`, `verdict.md`, `verdict.json` and `index.html` from the records below `results`.

    Args:
        results: a results folder, as `benchmark.run` writes it.
        out: where to write; the results folder itself where None.
        progress: show a progress bar.
        jobs: processes that draw; more than one needs a script guarded by `if __name__ == "__main__"`.

    Returns:
        The page, `out/index.html`.

    Raises:
        ReportError: there is no finished run, or `out` can't be written to.
    """
    from benchmark.report.building import make

    return make(Path(results), Path(out if out is not None else results), progress, jobs)
