"""Lines with intervals, and their names at their ends."""

import math
from collections.abc import Sequence

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from scipy.optimize import isotonic_regression

from benchmark.report.figures.looks import Look
from benchmark.report.figures.style import log_ticks, percent_axis
from benchmark.report.seeds import Interval

End = tuple[float, str, str]
"""The end of a line: y in data units, the line's name, its colour."""


def draw_line(ax: Axes, x: Sequence[float], values: Sequence[Interval], look: Look, intervals: bool = True) -> None:
    """Means as a line, intervals as bars."""
    mean = [v.mean for v in values]
    sns.lineplot(
        x=x,
        y=mean,
        ax=ax,
        color=look.colour,
        marker=look.marker,
        linestyle=look.line,
        errorbar=None,
        markersize=look.size,
        markeredgecolor="white",
        markeredgewidth=0.5,
        legend=False,
    )
    if intervals:
        low = [v.mean - v.low if math.isfinite(v.low) else 0 for v in values]
        high = [v.high - v.mean if math.isfinite(v.high) else 0 for v in values]
        ax.errorbar(x, mean, yerr=[low, high], fmt="none", ecolor=look.colour, elinewidth=0.9, alpha=0.5)


def value_axis(ax: Axes, ends: Sequence[End], rate: bool, room: float, outlier: float = math.inf) -> None:
    """Scale the axis of values: in percent for rates, else logarithmic where the ends of all lines are positive.

    Args:
        room: how many times the largest value the axis goes to.
        outlier: how many times the median it goes to at most.
    """
    if rate:
        percent_axis(ax)
    elif all(y > 0 for y, _, _ in ends):
        ax.set_yscale("log")
        values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.lines])
        ax.set_ylim(0.6 * values.min(), min(room * values.max(), outlier * np.median(values)))
        log_ticks(ax)


def label_ends(ax: Axes, ends: Sequence[End], size: float = 7) -> None:
    """Names right of the axes at the height of their lines' ends, moved apart where they would overlap."""
    known = [end for end in ends if np.isfinite(end[0])]
    if not known:
        return
    ax.autoscale(False)
    to_axes = ax.transScale + ax.transLimits
    wanted = np.array([to_axes.transform((ax.get_xlim()[1], y))[1] for y, _, _ in known])
    order = np.argsort(wanted, kind="stable")
    figure = ax.get_figure(root=True)
    assert figure is not None
    height = ax.get_position().height * figure.get_figheight() * 72
    heights = spread(wanted[order], 1.22 * size / height)
    for i, at in zip(order, heights, strict=True):
        _, text, colour = known[i]
        start = min(max(wanted[i], 0), 1)
        ax.plot([1.005, 1.04, 1.055], [start, at, at], transform=ax.transAxes, color=colour, lw=0.6, clip_on=False)
        ax.text(1.065, at, text, transform=ax.transAxes, color=colour, fontsize=size, va="center")


def spread(wanted: np.ndarray, apart: float, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """The nearest positions (least squares) to increasing `wanted` ones, `apart` and inside [low, high] if they fit."""
    steps = apart * np.arange(len(wanted))
    top = max(high - steps[-1], low)
    return np.clip(isotonic_regression(wanted - steps).x, low, top) + steps
