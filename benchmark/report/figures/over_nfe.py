"""Figures of measured values against network evaluations."""

from matplotlib.axes import Axes

from benchmark.metrics.registry import quantity
from benchmark.report.arms import COPY, REAL, Arm
from benchmark.report.comparing import COPIES, MIXTURE, few_budget
from benchmark.report.figures.figure import Drawn, figure
from benchmark.report.figures.lines import End, draw_line, label_ends, value_axis
from benchmark.report.figures.looks import looks
from benchmark.report.figures.style import WIDE, panels, percent_axis, plain_ticks, thinned
from benchmark.report.results import Results
from benchmark.report.seeds import Interval, mean_interval

OUTLIER = 60.0
"""Values above so many times the median leave the frame, which would otherwise show little else."""


@figure("quality", "Quality against NFE", section="quality", each_problem=True)
def quality_against_nfe(results: Results, problem: str) -> Drawn:
    """Quality, and copies beside it, of every arm over its budgets."""
    quality = results.quality(problem)
    names = [name for name in (quality, COPIES) if name and name in results.metrics(problem)]
    if not quality or not _calling(results, problem):
        return None
    fig, axes = panels(len(names), WIDE, 3.3, margins=(0.075, 0.17, 0.13, 0.1), gap=0.72)
    for ax, name in zip(axes[0], names, strict=True):
        _against_nfe(ax, results, problem, name)
    return fig, (
        f"Quality on {problem} against network evaluations: mean and 95% interval over seeds; lower is better; "
        "lines leave the frame where values are far above the rest. Right: "
        "share of samples that are copies of training examples. Grey: held-out examples."
    )


@figure("mode-mixture", "Mode mixture", section="quality", each_problem=True)
def mode_mixture(results: Results, problem: str) -> Drawn:
    """Mode mixture against NFE at λ = 0.2, and against λ at few evaluations."""
    budget = few_budget(results, problem)
    if MIXTURE not in results.metrics(problem) or budget is None:
        return None
    fig, axes = panels(2, WIDE, 3.3, margins=(0.075, 0.17, 0.13, 0.1), gap=0.72)
    _against_nfe(axes[0, 0], results, problem, MIXTURE)
    _over_levels(axes[0, 1], results, problem, budget)
    return fig, (
        f"Mode mixture on {problem}: share of samples for which two classes both have probability λ or more. Mean and "
        "95% interval (left) over seeds. Left: λ = 0.2. Linear below 0.1%, logarithmic above."
    )


def _over_levels(ax: Axes, results: Results, problem: str, budget: int) -> None:
    """Mode mixture of every main arm over λ."""
    levels = sorted((level, name) for name in results.metrics(problem) if (level := quantity(name).level) is not None)
    look = looks(results.main_arms())
    ends: list[End] = []
    for arm in results.arms(problem):
        if results.at(problem, arm, budget).empty:
            continue
        values = [mean_interval(results.by_seed(problem, arm, budget, name)) for _, name in levels]
        draw_line(ax, [level for level, _ in levels], values, look[arm], intervals=False)
        ends.append((values[-1].mean, arm.title, look[arm].colour))
    ax.set_xscale("log")
    plain_ticks(ax, [0.1, 0.16, 0.2, 0.3, 0.4])
    percent_axis(ax)
    ax.set(xlabel="least probability λ of both classes", title=f"Over λ, at {budget} evaluations")
    label_ends(ax, ends, 6.5)


def _against_nfe(ax: Axes, results: Results, problem: str, name: str) -> None:
    """One metric of every main arm over its counted evaluations, the floor of held-out examples drawn."""
    look, ends = looks(results.main_arms()), list[End]()
    measured = _measured(results, problem, name)
    for arm, points in measured.items():
        draw_line(ax, list(points), list(points.values()), look[arm])
        ends.append(([*points.values()][-1].mean, arm.title, look[arm].colour))
    ends += _floors(ax, results, problem, name)
    ax.set_xscale("log")
    plain_ticks(ax, thinned(sorted({n for arm in measured for n in results.budgets(problem, arm)})))
    value_axis(ax, ends, quantity(name).rate, room=1.7, outlier=OUTLIER)
    ax.set(xlabel="network evaluations (NFE)", title=f"{quantity(name).label}, {problem}", ylabel="")
    label_ends(ax, ends, 6.5)


def _measured(results: Results, problem: str, name: str) -> dict[Arm, dict[int, Interval]]:
    """Each main arm that calls the network -> evaluations counted -> the mean over seeds, where it was measured."""
    values: dict[Arm, dict[int, Interval]] = {}
    for arm in _calling(results, problem):
        for n in results.budgets(problem, arm):
            value = mean_interval(results.by_seed(problem, arm, n, name))
            if value.count:
                values.setdefault(arm, {})[int(results.at(problem, arm, n)["nfe_counted"].max())] = value
    return values


def _floors(ax: Axes, results: Results, problem: str, name: str) -> list[End]:
    """A dashed line for held-out examples, with its interval, and for copies of targets; the lines' ends."""
    ends = []
    for arm in (REAL, COPY):
        value = mean_interval(results.by_seed(problem, arm, 0, name))
        if value.count:
            look = looks(results.main_arms())[arm]
            ax.axhline(value.mean, color=look.colour, lw=1, dashes=(5, 2), zorder=1)
            if value.count > 1 and arm == REAL:
                ax.axhspan(value.low, value.high, color=look.colour, alpha=0.13, lw=0, zorder=0)
            ends.append((value.mean, arm.title, look.colour))
    return ends


def _calling(results: Results, problem: str) -> list[Arm]:
    """Main arms that call the network."""
    runs = results.runs[(results.runs["problem"] == problem) & (results.runs["nfe_counted"] > 0)]
    return [arm for arm in results.arms(problem) if arm in set(runs["arm"])]
