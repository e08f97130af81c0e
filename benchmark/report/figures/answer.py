"""The figure that opens the README: what the suite found, at a glance."""

import math

from matplotlib.axes import Axes
from matplotlib.transforms import blended_transform_factory

from benchmark.report.comparing import REAL, few_budget
from benchmark.report.figures.curves import FIGURE
from benchmark.report.figures.style import log_ticks, panels, percent_axis
from benchmark.report.names import COPIES, FAMILIES, INK, MIXTURE, MUTED, family, looks, metric, rank, title
from benchmark.report.results import Results
from benchmark.report.seeds import mean_interval

ROW = 0.215  # inches
WIDTH = 10  # inches
CROWDED = 6  # columns beyond which headings and ticks are cut short


def answer(results: Results, headline: str) -> FIGURE | None:
    """Quality, mode mixture and copies of every arm at few evaluations, one column each, for each problem."""
    columns = [
        (problem, name, budget)
        for problem in results.problems
        if (budget := few_budget(results, problem)) is not None
        for name in (results.quality(problem), MIXTURE, COPIES)
        if name and name in results.metrics(problem)
    ]
    arms = sorted({a for p, _, n in columns for a in results.arms(p) if results.close(p, a, n) is not None}, key=rank)
    if not columns or not arms:
        return None
    height = ROW * len(arms) + 1.08
    fig, axes = panels(len(columns), WIDTH, height, margins=(0.145, 0.02, 0.3 / height, 0.78 / height), gap=0.2)
    for ax, (problem, name, budget) in zip(axes[0], columns, strict=True):
        _column(ax, results, problem, name, budget, arms, crowded=len(columns) > CROWDED)
    _names(axes[0, 0], arms)
    for problem in dict.fromkeys(p for p, _, _ in columns):
        here = [ax for ax, (p, _, _) in zip(axes[0], columns, strict=True) if p == problem]
        budget = few_budget(results, problem)
        left = here[0].get_position().x0
        fig.text(left, 1 - 0.48 / height, f"{problem}, {budget} network evaluations", fontsize=8.5, color=MUTED)
    fig.text(0.012, 1 - 0.18 / height, headline, fontsize=11, fontweight="bold", va="center")
    caption = (
        "Every arm at an equal budget of network evaluations: quality (distance to a reference), mode mixture and "
        "copies of training examples; mean and 95% interval over seeds. Dashed: held-out examples. Lower is better; "
        "copies are to be read beside held-out examples."
    )
    return fig, caption


def _column(
    ax: Axes, results: Results, problem: str, name: str, budget: int, arms: list[str], crowded: bool = False
) -> None:
    look = looks(tuple(sorted(results.runs.loc[results.runs["base"], "label"].unique())))
    beside = {arm: results.close(problem, arm, budget) for arm in arms}
    values = {
        arm: mean_interval(results.by_seed(problem, arm, n if n is not None else -1, name)) for arm, n in beside.items()
    }
    floor = values.get(REAL)
    if floor is not None and floor.count:
        ax.axvline(floor.mean, color=look[REAL].colour, lw=0.9, dashes=(5, 2), zorder=1)
    for row, arm in enumerate(arms):
        value = values[arm]
        if not value.count:
            continue
        if math.isfinite(value.low):
            ends = [max(value.low, 0.0) if metric(name).rate else value.low, value.high]
            ax.plot(ends, [row, row], color=look[arm].colour, lw=2.2, alpha=0.35, solid_capstyle="butt")
        ax.plot(value.mean, row, look[arm].marker, color=look[arm].colour, ms=look[arm].size, mec="white", mew=0.5)
    if metric(name).rate:
        percent_axis(ax, "x", 1e-2)
        ax.set_xlim(-0.003, 1.4)
        ax.set_xticks([0, 0.1, 1.0] if crowded else [0, 0.01, 0.1, 1.0])
    elif all(v.mean > 0 for v in values.values() if v.count):
        means = [v.mean for v in values.values() if v.count]
        ax.set(xscale="log", xlim=(0.6 * min(means), 1.7 * max(means)))
        log_ticks(ax, "x")
        if crowded and len(ax.get_xticks()) > 3:
            ax.set_xticks(ax.get_xticks()[::2])
    ax.set(ylim=(len(arms) - 0.4, -0.6), yticks=[])
    headings = {COPIES: "copies of training data", MIXTURE: "mode mixture"}
    short = {COPIES: "copies", MIXTURE: "mixture"}
    label = metric(name).label
    if crowded:
        ax.tick_params(axis="x", labelsize=6)
    heading = short.get(name, label) if crowded else headings.get(name, f"{label} to reference")
    ax.set_title(heading, fontsize=8, fontweight="normal", pad=4)
    for row in range(len(arms)):
        ax.axhline(row, color="#eef0f2", lw=0.7, zorder=0)
    for row in _breaks(arms):
        ax.axhline(row - 0.5, color="#c3c8ce", lw=0.8, zorder=0)


def _names(ax: Axes, arms: list[str]) -> None:
    """Names of the arms left of the first column."""
    look = looks(tuple(sorted(arms)))
    place = blended_transform_factory(ax.transAxes, ax.transData)
    for row, arm in enumerate(arms):
        weight = "bold" if arm in ("dpmot", "random-latent") else "normal"
        colour = look[arm].colour if family(arm) != "plain" else INK
        ax.text(
            -0.06,
            row,
            title(arm),
            transform=place,
            ha="right",
            va="center",
            fontsize=8,
            color=colour,
            fontweight=weight,
        )


def _breaks(arms: list[str]) -> list[int]:
    """Rows at which a new family begins."""
    kinds = [list(FAMILIES).index(family(arm)) for arm in arms]
    return [i for i in range(1, len(arms)) if kinds[i] != kinds[i - 1]]
