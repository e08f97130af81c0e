"""Figure of quality and novelty over the noise level σ_M of the targets."""

import math

from matplotlib.axes import Axes

from benchmark.metrics.registry import quantity
from benchmark.report.arms import REAL, Arm
from benchmark.report.comparing import COPIES
from benchmark.report.figures.figure import Drawn, figure
from benchmark.report.figures.lines import End, draw_line, label_ends, value_axis
from benchmark.report.figures.looks import looks
from benchmark.report.figures.style import panels, plain_ticks, thinned
from benchmark.report.results import Results, groups
from benchmark.report.seeds import mean_interval


@figure("frontier", "Quality against novelty", section="novelty")
def frontier(results: Results) -> Drawn:
    """Quality and copies, along the noise level σ_M of the targets."""
    shown = [p for p in results.problems if results.frontier(p)["sigma_m"].nunique() > 1 and results.quality(p)]
    if not shown:
        return None
    fig, axes = panels(len(shown), 3.6 * len(shown), 4.2, rows=2, margins=(0.07, 0.135, 0.1, 0.06), gap=0.62)
    fig.subplots_adjust(hspace=0.24)
    for column, problem in zip(axes.T, shown, strict=True):
        quality, budget = str(results.quality(problem)), int(results.frontier(problem)["nfe"].iloc[0])
        for ax, name in zip(column, (quality, COPIES), strict=True):
            _over_sigma_m(ax, results, problem, name)
        column[0].set(title=f"{quantity(quality).label}, {problem}, {budget} NFE", xlabel="", xticklabels=[])
    return fig, (
        "Quality (top) against novelty (bottom) over the noise level σ_M of the targets: mean and 95% interval over "
        "seeds. At small σ_M samples are the targets; from σ_M on, the network generates. Blue: the best plain sampler "
        "at the same budget. Grey: held-out examples."
    )


def _over_sigma_m(ax: Axes, results: Results, problem: str, name: str) -> None:
    """A metric of DPM-OT and its random latents over σ_M, with the best plain sampler and held-out examples."""
    points, look = results.frontier(problem), looks(results.main_arms())
    budget, ends = int(points["nfe"].iloc[0]), list[End]()
    for (sampler,), rows in groups(points, ["sampler"]):
        arm = Arm(sampler)
        values = [mean_interval(results.by_seed(problem, one, budget, name)) for one in rows["arm"]]
        draw_line(ax, rows["sigma_m"].tolist(), values, look[arm])
        ends.append((values[-1].mean, arm.title, look[arm].colour))
    for arm in [REAL, *_best_plain(results, problem, budget)]:
        value = mean_interval(results.by_seed(problem, arm, budget, name)).mean
        if math.isfinite(value):
            ax.axhline(value, color=look[arm].colour, lw=1, dashes=(5, 2) if arm == REAL else (1.5, 1.5), zorder=1)
            ends.append((value, arm.title, look[arm].colour))
    ax.set_xscale("log")
    plain_ticks(ax, thinned(sorted(float(f"{s:.2g}") for s in points["sigma_m"].unique())))
    value_axis(ax, ends, quantity(name).rate, room=1.6)
    ax.set(xlabel=r"noise level $\sigma_M$ of the targets", ylabel="", title="copies of training examples")
    label_ends(ax, ends, 6.5)


def _best_plain(results: Results, problem: str, budget: int) -> list[Arm]:
    """The plain sampler of best quality at a budget; none where none was run."""
    quality = str(results.quality(problem))
    plain = [a for a in results.arms(problem) if a.family == "plain" and budget in results.budgets(problem, a)]
    return sorted(plain, key=lambda arm: results.by_seed(problem, arm, budget, quality).mean())[:1]
