"""What a figure of the report is, and which there are."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from matplotlib.figure import Figure

from benchmark.report import figures
from benchmark.report.results import Results, slug

Drawn = tuple[Figure, str] | None
"""A figure and its caption; None where the results lack what it shows."""

SECTIONS = ("answer", "quality", "novelty", "samples", "transport", "more")
"""Parts of the page, in order. Figures of one problem stand together in each of them."""

F = TypeVar("F", bound=Callable[..., Drawn])


@dataclass(frozen=True)
class Drawing:
    """A figure that the report may have.

    Attributes:
        name: of its files, without ending.
        heading: on the page.
        draw: makes it, with its caption: of results, or of results and a problem where there is one for each problem.
        section: where it stands on the page, one of `SECTIONS`.
        each_problem: whether there is one for each problem.
    """

    name: str
    heading: str
    draw: Callable[..., Drawn]
    section: str
    each_problem: bool = False


_drawings: dict[str, Drawing] = {}


def figure(name: str, heading: str, section: str = "more", each_problem: bool = False) -> Callable[[F], F]:
    """Decorator: put a figure into the report; see `Drawing`. The name and heading of a problem's get the problem's.

    Within a section figures keep the order of their files and, inside those, of their definition.
    """
    if section not in SECTIONS:
        raise ValueError(f"figure '{name}': there is no section '{section}', only {', '.join(SECTIONS)}")

    def add(draw: F) -> F:
        _drawings[name] = Drawing(name, heading, draw, section, each_problem)
        return draw

    return add


def every_figure(results: Results) -> list[Drawing]:
    """Every figure that the report may have of these results, in the order of the page; `draw` takes nothing more."""
    for module in pkgutil.iter_modules(figures.__path__):
        importlib.import_module(f"{figures.__name__}.{module.name}")
    return [drawing for section in SECTIONS for drawing in _of_section(section, results)]


def _of_section(section: str, results: Results) -> Iterator[Drawing]:
    known = [drawing for drawing in _drawings.values() if drawing.section == section]
    for d in known:
        if not d.each_problem:
            yield Drawing(d.name, d.heading, partial(d.draw, results), section)
    for problem in results.problems:
        for d in known:
            if d.each_problem:
                heading = f"{d.heading}: {problem}"
                yield Drawing(f"{d.name}-{slug(problem)}", heading, partial(d.draw, results, problem), section, True)
