"""The figure that opens the README: what the suite found, at a glance."""

import math
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from benchmark.metrics.registry import quantity
from benchmark.report.arms import OURS, RANDOM, REAL, Arm
from benchmark.report.comparing import COPIES, MIXTURE, few_budget
from benchmark.report.figures.figure import Drawn, figure
from benchmark.report.figures.looks import INK, MUTED, looks
from benchmark.report.figures.style import log_ticks, panels, percent_axis
from benchmark.report.results import Results
from benchmark.report.seeds import Interval, mean_interval
from benchmark.report.verdict.judging import headline, judge

ROW = 0.215  # inches
WIDTH = 10  # inches
CROWDED = 6  # columns beyond which headings and ticks are cut short


HEADINGS = {COPIES: ("copies of training data", "copies"), MIXTURE: ("mode mixture", "mixture")}
"""Metric -> heading of its column, and what is left of it where columns are crowded."""


@dataclass(frozen=True)
class Column:
    """A metric on a problem at a budget."""

    problem: str
    metric: str
    budget: int


@figure("answer", "The answer at a glance", section="answer")
def answer(results: Results) -> Drawn:
    """Quality, mode mixture and copies of every arm at few evaluations, one column each, for each problem."""
    columns = [
        Column(problem, name, budget)
        for problem in results.problems
        if (budget := few_budget(results, problem)) is not None
        for name in (results.quality(problem), MIXTURE, COPIES)
        if name and name in results.metrics(problem)
    ]
    shown = {a for c in columns for a in results.arms(c.problem) if results.close(c.problem, a, c.budget) is not None}
    arms = sorted(shown, key=lambda arm: arm.rank)
    if not arms:
        return None
    height = ROW * len(arms) + 1.08
    fig, axes = panels(len(columns), WIDTH, height, margins=(0.145, 0.02, 0.3 / height, 0.78 / height), gap=0.2)
    for ax, column in zip(axes[0], columns, strict=True):
        _column(ax, results, column, arms, crowded=len(columns) > CROWDED)
    _names(axes[0, 0], arms)
    for problem in dict.fromkeys(c.problem for c in columns):
        ax, column = next((ax, c) for ax, c in zip(axes[0], columns, strict=True) if c.problem == problem)
        said = f"{problem}, {column.budget} network evaluations"
        fig.text(ax.get_position().x0, 1 - 0.48 / height, said, fontsize=8.5, color=MUTED)
    fig.text(0.012, 1 - 0.18 / height, headline(judge(results)), fontsize=11, fontweight="bold", va="center")
    return fig, (
        "Every arm at an equal budget of network evaluations: quality (distance to a reference), mode mixture and "
        "copies of training examples; mean and 95% interval over seeds. Dashed: held-out examples. Lower is better; "
        "copies are to be read beside held-out examples."
    )


def _column(ax: Axes, results: Results, column: Column, arms: list[Arm], crowded: bool) -> None:
    """One column: a point and an interval for each arm, the floor of held-out examples dashed."""
    look, values = looks(results.main_arms()), _values(results, column, arms)
    floor = values.get(REAL)
    if floor is not None:
        ax.axvline(floor.mean, color=look[REAL].colour, lw=0.9, dashes=(5, 2), zorder=1)
    rate = quantity(column.metric).rate
    for row, arm in enumerate(arms):
        value = values.get(arm)
        if value is None:
            continue
        if math.isfinite(value.low):
            ends = [max(value.low, 0.0) if rate else value.low, value.high]
            ax.plot(ends, [row, row], color=look[arm].colour, lw=2.2, alpha=0.35, solid_capstyle="butt")
        ax.plot(value.mean, row, look[arm].marker, color=look[arm].colour, ms=look[arm].size, mec="white", mew=0.5)
    _scale(ax, [value.mean for value in values.values()], rate, crowded)
    ax.set(ylim=(len(arms) - 0.4, -0.6), yticks=[])
    label = quantity(column.metric).label
    heading, short = HEADINGS.get(column.metric, (f"{label} to reference", label))
    ax.set_title(short if crowded else heading, fontsize=8, fontweight="normal", pad=4)
    for row in range(len(arms)):
        ax.axhline(row, color="#eef0f2", lw=0.7, zorder=0)
    for row in _breaks(arms):
        ax.axhline(row - 0.5, color="#c3c8ce", lw=0.8, zorder=0)


def _values(results: Results, column: Column, arms: list[Arm]) -> dict[Arm, Interval]:
    """The mean of each arm that was measured, at the budget beside the column's."""
    values = {}
    for arm in arms:
        budget = results.close(column.problem, arm, column.budget)
        if budget is not None:
            values[arm] = mean_interval(results.by_seed(column.problem, arm, budget, column.metric))
    return {arm: value for arm, value in values.items() if value.count}


def _scale(ax: Axes, means: list[float], rate: bool, crowded: bool) -> None:
    """Scale and ticks of the horizontal axis: percent for rates, else logarithmic where all means are positive."""
    if rate:
        percent_axis(ax, "x", 1e-2)
        ax.set_xlim(-0.003, 1.4)
        ax.set_xticks([0, 0.1, 1.0] if crowded else [0, 0.01, 0.1, 1.0])
    elif means and all(mean > 0 for mean in means):
        ax.set(xscale="log", xlim=(0.6 * min(means), 1.7 * max(means)))
        log_ticks(ax, "x")
        if crowded and len(ax.get_xticks()) > 3:
            ax.set_xticks(ax.get_xticks()[::2])
    if crowded:
        ax.tick_params(axis="x", labelsize=6)


def _names(ax: Axes, arms: list[Arm]) -> None:
    """Names of the arms left of the first column."""
    look = looks(frozenset(arms))
    for row, arm in enumerate(arms):
        ax.text(
            x=-0.06,
            y=row,
            s=arm.title,
            transform=blended_transform_factory(ax.transAxes, ax.transData),
            ha="right",
            va="center",
            fontsize=8,
            color=look[arm].colour if arm.family != "plain" else INK,
            fontweight="bold" if arm in (OURS, RANDOM) else "normal",
        )


def _breaks(arms: list[Arm]) -> list[int]:
    """Rows at which a new family begins."""
    return [i for i in range(1, len(arms)) if arms[i].family != arms[i - 1].family]
