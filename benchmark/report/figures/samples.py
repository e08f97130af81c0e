"""Figures of samples: scatter on the plane, or grids of images."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmark.report.arms import COPY, OURS, RANDOM, REAL, RELEASED, UNSOLVED, Arm
from benchmark.report.comparing import few_budget
from benchmark.report.figures.figure import Drawn, figure
from benchmark.report.figures.looks import looks
from benchmark.report.figures.style import WIDE, bare, panels
from benchmark.report.results import Results

Arrays = dict[str, NDArray]
PLAIN = tuple(map(Arm, ("ddim", "dpm-solver++-2m", "unipc", "heun", "ddpm")))
OF_OURS = (OURS, RELEASED, RANDOM, UNSOLVED, COPY, REAL)


@figure("samples", "Samples", section="samples", each_problem=True)
def samples(results: Results, problem: str) -> Drawn:
    """Samples of the arms side by side: points on the plane, or images."""
    found = stored(results, problem)
    if not found:
        return None
    shape = next(iter(found.values()))["samples"].shape
    return scatter(results, problem, found) if shape[1:] == (2,) else images(results, problem, found)


def stored(results: Results, problem: str) -> dict[Arm, Arrays]:
    """Stored samples of the arms worth showing side by side at few evaluations."""
    budget = few_budget(results, problem)
    if budget is None:
        budget = int(results.runs.loc[results.runs["problem"] == problem, "nfe"].max())
    arms = results.arms(problem)
    students = [arm for arm in arms if arm.family == "distilled"]
    shown = [*PLAIN, *students, *OF_OURS]
    chosen = [a for a in shown if a in arms] + [a for a in arms if a not in shown and a.family != "plain"]
    beside = {arm: results.close(problem, arm, budget) for arm in chosen}
    found = {arm: results.pictures(problem, arm, nfe) for arm, nfe in beside.items() if nfe is not None}
    return {arm: arrays for arm, arrays in found.items() if arrays and "samples" in arrays}


def scatter(results: Results, problem: str, found: dict[Arm, Arrays]) -> Drawn:
    """Points of each arm over the reference."""
    fig, axes = _sheet(len(found), across=6, gaps=(0.05, 0.16))
    reference = next((a["reference"] for a in found.values() if "reference" in a), None)
    points = reference if reference is not None else next(iter(found.values()))["samples"]
    reach, look = 1.12 * np.quantile(np.abs(points), 0.999), looks(frozenset(found))
    for ax, (arm, arrays) in zip(axes, found.items(), strict=False):
        if reference is not None:
            _dots(ax, reference, size=5, colour="#dfe2e6")
        _dots(ax, arrays["samples"], size=1.6, colour=look[arm].colour)
        bare(ax, reach)
        ax.set_title(arm.title, fontsize=7, color=look[arm].colour, pad=3)
    return fig, (
        f"Samples on {problem} at {few_budget(results, problem)} evaluations (one seed, same noise). Grey: held-out "
        "examples."
    )


def _dots(ax: Axes, points: NDArray, size: float, colour: str) -> None:
    """Points [n, 2] as dots, as pixels in PDFs too."""
    x, y = points.astype(float).T
    ax.scatter(x, y, s=size, color=colour, lw=0, rasterized=True)


def images(results: Results, problem: str, found: dict[Arm, Arrays]) -> Drawn:
    """A grid of images for each arm; fewer of them from 32 pixels on."""
    fig, axes = _sheet(len(found), across=5, gaps=(0.06, 0.17))
    look = looks(frozenset(found))
    for ax, (arm, arrays) in zip(axes, found.items(), strict=False):
        side = 6 if arrays["samples"].shape[1] < 32 else 4
        ax.imshow(_tiled(arrays["samples"], side), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        ax.axis("off")
        ax.set_title(arm.title, fontsize=7, color=look[arm].colour, pad=3)
    caption = f"Samples on {problem} at {few_budget(results, problem)} evaluations (one seed, same noise)."
    if OURS in results.arms(problem) and OURS not in found:
        caption += " Arms that start from examples of the data are left out: it is not ours to give away."
    return fig, caption


def _sheet(count: int, across: int, gaps: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A figure with square panels in rows of at most `across`, those beyond `count` left empty.

    Args:
        gaps: between columns and between rows, as fractions of a panel.
    """
    rows = -(-count // across)
    columns = -(-count // rows)
    fig, axes = panels(
        columns=columns,
        width=WIDE,
        height=(7.1 / columns + 0.17) * rows,
        rows=rows,
        margins=(0.01, 0.01, 0.01, 0.13 / rows),
        gap=0.0,
    )
    fig.subplots_adjust(wspace=gaps[0], hspace=gaps[1])
    for ax in axes.flat[count:]:
        ax.axis("off")
    return fig, list(axes.flat)


def _tiled(pictures: NDArray, side: int) -> NDArray:
    """The first side² images [n, H, W(, 3)] as one, with a thin line between them."""
    shown = pictures[: side**2]
    if shown.ndim == 4 and shown.shape[-1] == 1:
        shown = shown[..., 0]
    height, width = shown.shape[1] + 1, shown.shape[2] + 1
    sheet = np.full((side * height - 1, side * width - 1, *shown.shape[3:]), 255, np.uint8)
    for i, picture in enumerate(shown):
        row, column = divmod(i, side)
        sheet[row * height : (row + 1) * height - 1, column * width : (column + 1) * width - 1] = picture
    return sheet
