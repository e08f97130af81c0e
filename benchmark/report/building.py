"""The report as a whole: which figures there are, and everything written in order."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tqdm import tqdm

from benchmark.report import ReportError
from benchmark.report.figures import pictures
from benchmark.report.figures.answer import answer
from benchmark.report.figures.curves import FIGURE, frontier, mode_mixture, ot_convergence, quality_against_nfe
from benchmark.report.figures.style import save, theme
from benchmark.report.page import page
from benchmark.report.page.page import Picture
from benchmark.report.results import Results, load, slug
from benchmark.report.tables.tables import tables
from benchmark.report.verdict import verdict
from benchmark.report.verdict.wording import context
from benchmark.running.processes import processes

Figure = tuple[str, str, Callable[[], FIGURE | None]]
"""File name, heading, and the function that draws it, or returns None where the results lack what it shows."""


def make(results: Path, out: Path, progress: bool, jobs: int) -> Path:
    """See `benchmark.report.build`."""
    found = load(results)
    if not found.records:
        raise ReportError(
            f"no finished run in {results / 'runs'}: make some with "
            f"python -m benchmark.run --suite quick --out {results}"
        )
    try:
        for folder in ("tables", "figures"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        verdicts = verdict.judge(found)
        verdict.write(verdicts, context(found), out)
        made = tables(found)
        for table in made:
            table.write(out / "tables")
        drawn = _draw_all(figures(found, verdict.headline(verdicts)), out / "figures", progress, jobs)
        page.write(found, verdicts, drawn, made, out)
    except OSError as error:
        raise ReportError(f"can't write the report to {out}: {error.strerror or error}") from None
    return out / "index.html"


def figures(results: Results, headline: str) -> list[Figure]:
    """Every figure that the report may have, in the order of the page."""
    listed: list[Figure] = [("answer", "The answer at a glance", partial(answer, results, headline))]
    for p in results.problems:
        listed += [
            (f"quality-{slug(p)}", f"Quality against NFE: {p}", partial(quality_against_nfe, results, p)),
            (f"mode-mixture-{slug(p)}", f"Mode mixture: {p}", partial(mode_mixture, results, p)),
        ]
    listed += [("frontier", "Quality against novelty", partial(frontier, results))]
    for p in results.problems:
        listed += [
            (f"samples-{slug(p)}", f"Samples: {p}", partial(pictures.samples, results, p)),
            (f"trajectories-{slug(p)}", f"Trajectories: {p}", partial(pictures.trajectories, results, p)),
        ]
    return [*listed, ("ot-convergence", "Convergence of the transport solve", partial(ot_convergence, results))]


def _draw_all(listed: list[Figure], folder: Path, progress: bool, jobs: int) -> list[Picture]:
    """Draw every figure, on `jobs` processes, this one among them; in the order given."""
    if jobs < 2:
        return _draw(listed, folder, progress)
    with processes(jobs - 1) as pool:
        parts = [pool.submit(_draw, listed[k::jobs], folder) for k in range(1, jobs)]
        drawn = _draw(listed[::jobs], folder, progress)
        drawn += [picture for part in parts for picture in part.result()]
    order = [name for name, _, _ in listed]
    return sorted(drawn, key=lambda picture: order.index(picture.name))


def _draw(listed: list[Figure], folder: Path, progress: bool = False) -> list[Picture]:
    """Draw and save figures; those that the results have nothing for are left out."""
    theme()
    drawn = []
    for name, heading, draw in tqdm(listed, desc="figures", disable=not progress, leave=False):
        figure = draw()
        if figure is not None:
            save(figure[0], folder, name)
            drawn.append(Picture(name, heading, figure[1]))
    return drawn
