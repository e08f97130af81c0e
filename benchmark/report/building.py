"""The report as a whole: everything made and written, in order."""

from pathlib import Path

from benchmark.report.arranging import load
from benchmark.report.figures.figure import Drawing, every_figure
from benchmark.report.figures.style import save, theme
from benchmark.report.page import writing as page
from benchmark.report.page.writing import Picture
from benchmark.report.tables.listing import tables
from benchmark.report.verdict import writing as verdict
from benchmark.report.verdict.context import context
from benchmark.report.verdict.judging import judge
from benchmark.running.executors import processes
from dpmot.progress import progress_bar
from samplers.errors import UserError


class ReportError(UserError):
    """The report cannot be made; the message is one line for the user."""


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
        ReportError: there is no finished run, or `out` cannot be written to.
    """
    results = Path(results)
    out = results if out is None else Path(out)
    found = load(results)
    if not found.records:
        raise ReportError(
            f"no finished run in {results / 'runs'}: make some with "
            f"python -m benchmark.run --suite quick --out {results}"
        )
    try:
        for folder in ("tables", "figures"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        verdicts = judge(found)
        verdict.write(verdicts, context(found), out)
        made = tables(found)
        for table in made:
            table.write(out / "tables")
        drawn = _draw_all(every_figure(found), out / "figures", progress, jobs)
        page.write(found, verdicts, drawn, made, out)
    except OSError as error:
        raise ReportError(f"can't write the report to {out}: {error.strerror or error}") from None
    return out / "index.html"


def _draw_all(drawings: list[Drawing], folder: Path, progress: bool, jobs: int) -> list[Picture]:
    """Draw every figure, on `jobs` processes, this one among them; in the order given."""
    if jobs < 2:
        return _draw(drawings, folder, progress)
    with processes(jobs - 1) as pool:
        parts = [pool.submit(_draw, drawings[k::jobs], folder) for k in range(1, jobs)]
        drawn = _draw(drawings[::jobs], folder, progress)
        drawn += [picture for part in parts for picture in part.result()]
    order = [drawing.name for drawing in drawings]
    return sorted(drawn, key=lambda picture: order.index(picture.name))


def _draw(drawings: list[Drawing], folder: Path, progress: bool = False) -> list[Picture]:
    """Draw and save figures; those that the results have nothing for are left out."""
    theme()
    pictures = []
    for drawing in progress_bar(drawings, desc="figures", disable=not progress, leave=False):
        drawn = drawing.draw()
        if drawn is not None:
            figure, caption = drawn
            save(figure, folder, drawing.name)
            pictures.append(Picture(drawing.name, drawing.heading, caption))
    return pictures
