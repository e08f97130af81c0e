"""What a figure of the report is, and which there are."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from benchmark.report import figures
from benchmark.report.results import Results, slug

Drawn = tuple[Figure, str] | None
"""A figure and its caption; None where the results lack what it shows."""

SECTIONS = ("answer", "quality", "novelty", "samples", "transport", "more")
"""Parts of the page, in order. Figures of one problem stand together in each of them."""


@dataclass(frozen=True)
class Drawing:
    """A figure that the report may have.

    Attributes:
        name: of its files, without ending.
        heading: on the page.
        draw: makes it, with its caption.
    """

    name: str
    heading: str
    draw: Callable[[], Drawn]


@dataclass(frozen=True)
class _Kind:
    name: str
    heading: str
    section: str
    draw: Callable[..., Drawn]
    each_problem: bool


_kinds: dict[str, _Kind] = {}


def _add(kind: _Kind) -> None:
    if kind.section not in SECTIONS:
        raise ValueError(f"figure '{kind.name}': there is no section '{kind.section}', only {', '.join(SECTIONS)}")
    _kinds[kind.name] = kind


def figure(
    name: str, heading: str, section: str = "more"
) -> Callable[[Callable[[Results], Drawn]], Callable[[Results], Drawn]]:
    """Decorator: put a figure of all results into the report.

    Args:
        name: of its files.
        heading: on the page.
        section: one of `SECTIONS`; within it figures keep the order of their files and, inside those, of their
            definition.
    """

    def add(draw: Callable[[Results], Drawn]) -> Callable[[Results], Drawn]:
        _add(_Kind(name, heading, section, draw, each_problem=False))
        return draw

    return add


def figure_of_problem(
    name: str, heading: str, section: str = "more"
) -> Callable[[Callable[[Results, str], Drawn]], Callable[[Results, str], Drawn]]:
    """Decorator: put a figure of each problem into the report; its name and heading get the problem's. See `figure`."""

    def add(draw: Callable[[Results, str], Drawn]) -> Callable[[Results, str], Drawn]:
        _add(_Kind(name, heading, section, draw, each_problem=True))
        return draw

    return add


def every_figure(results: Results) -> list[Drawing]:
    """Every figure that the report may have, in the order of the page."""
    for module in pkgutil.iter_modules(figures.__path__):
        importlib.import_module(f"{figures.__name__}.{module.name}")
    return [drawing for section in SECTIONS for drawing in _of_section(section, results)]


def _of_section(section: str, results: Results) -> Iterator[Drawing]:
    kinds = [kind for kind in _kinds.values() if kind.section == section]
    for kind in kinds:
        if not kind.each_problem:
            yield Drawing(kind.name, kind.heading, partial(kind.draw, results))
    for problem in results.problems:
        for kind in kinds:
            if kind.each_problem:
                yield Drawing(
                    name=f"{kind.name}-{slug(problem)}",
                    heading=f"{kind.heading}: {problem}",
                    draw=partial(kind.draw, results, problem),
                )
