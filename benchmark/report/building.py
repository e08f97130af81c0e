"""The report as a whole: which figures there are, and everything written in order."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tqdm import tqdm

from benchmark.report import ReportError, pictures, verdict, website
from benchmark.report.answer import answer
from benchmark.report.claims import context
from benchmark.report.curves import FIGURE, frontier, mode_mixture, ot_convergence, quality_against_nfe
from benchmark.report.reading import Results, load, slug
from benchmark.report.style import save, theme
from benchmark.report.tables import tables
from benchmark.report.website import Picture

Figure = tuple[str, str, Callable[[], FIGURE | None]]
"""File name, heading, and the function that draws it, or returns None where the results lack what it shows."""


def make(results: Path, out: Path, progress: bool = False) -> Path:
    """See `benchmark.report.build`."""
    found = load(results)
    if not found.records:
        raise ReportError(
            f"no finished run in {results / 'runs'}: make some with python -m benchmark.run --suite quick"
        )
    try:
        for folder in ("tables", "figures"):
            (out / folder).mkdir(parents=True, exist_ok=True)
        verdicts = verdict.judge(found)
        verdict.write(verdicts, context(found), out)
        made = tables(found)
        for table in made:
            table.write(out / "tables")
        drawn = _draw(figures(found, verdict.headline(verdicts)), out / "figures", progress)
        website.write(found, verdicts, drawn, made, out)
    except OSError as error:
        raise ReportError(f"can't write the report to {out}: {error.strerror or error}") from None
    return out / "index.html"


def figures(results: Results, headline: str) -> list[Figure]:
    """Every figure that the report may have, in the order of the page."""
    listed: list[Figure] = [("answer", "The answer at a glance", partial(answer, results, headline))]
    for problem in results.problems:
        listed += [
            (
                f"quality-{slug(problem)}",
                f"Quality against NFE: {problem}",
                partial(quality_against_nfe, results, problem),
            ),
            (f"mode-mixture-{slug(problem)}", f"Mode mixture: {problem}", partial(mode_mixture, results, problem)),
        ]
    listed += [("frontier", "Quality against novelty", partial(frontier, results))]
    for problem in results.problems:
        listed += [
            (f"samples-{slug(problem)}", f"Samples: {problem}", partial(pictures.samples, results, problem)),
            (
                f"trajectories-{slug(problem)}",
                f"Trajectories: {problem}",
                partial(pictures.trajectories, results, problem),
            ),
        ]
    return [*listed, ("ot-convergence", "Convergence of the transport solve", partial(ot_convergence, results))]


def _draw(listed: list[Figure], folder: Path, progress: bool) -> list[Picture]:
    theme()
    drawn = []
    for name, heading, draw in tqdm(listed, desc="figures", disable=not progress, leave=False):
        figure = draw()
        if figure is not None:
            save(figure[0], folder, name)
            drawn.append(Picture(name, heading, figure[1]))
    return drawn
