"""Figures of measured values: against NFE, λ, σ_M and samples of the OT solve."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from benchmark.report.comparing import COPY, OURS, REAL, few_budget
from benchmark.report.figures.style import WIDE, label_ends, log_ticks, panels, percent_axis, plain_ticks, widen
from benchmark.report.names import COPIES, MIXTURE, MUTED, Look, family, looks, metric, mixture_level, title
from benchmark.report.results import Results, rows_of
from benchmark.report.seeds import Interval, mean_interval

OUTLIER = 60.0
"""Values above so many times the median leave the frame, which would otherwise show little else."""

FIGURE = tuple[Figure, str]
"""A figure and its caption."""


def quality_against_nfe(results: Results, problem: str) -> FIGURE | None:
    """Quality, and copies beside it, of every arm over its budgets."""
    quality = results.quality(problem)
    names = [name for name in (quality, COPIES) if name and name in results.metrics(problem)]
    if not quality or not _lines(results, problem):
        return None
    fig, axes = panels(len(names), WIDE, 3.3, margins=(0.075, 0.17, 0.13, 0.1), gap=0.72)
    for ax, name in zip(axes[0], names, strict=True):
        _against_nfe(ax, results, problem, name)
    caption = (
        f"Quality on {problem} against network evaluations: mean and 95% interval over seeds; lower is better; "
        "lines leave the frame where values are far above the rest. Right: "
        "share of samples that are copies of training examples. Grey: held-out examples."
    )
    return fig, caption


def mode_mixture(results: Results, problem: str) -> FIGURE | None:
    """Mode mixture against NFE at λ = 0.2, and against λ at few evaluations."""
    levels = sorted((level, name) for name in results.metrics(problem) if (level := mixture_level(name)) is not None)
    budget = few_budget(results, problem)
    if MIXTURE not in results.metrics(problem) or budget is None:
        return None
    fig, axes = panels(2, WIDE, 3.3, margins=(0.075, 0.17, 0.13, 0.1), gap=0.72)
    _against_nfe(axes[0, 0], results, problem, MIXTURE)
    ax, ends = axes[0, 1], []
    shown = [a for a in results.arms(problem) if not results.at(problem, a, budget).empty]
    for label in shown:
        values = [mean_interval(results.by_seed(problem, label, budget, name)) for _, name in levels]
        _line(ax, [level for level, _ in levels], values, _looks(results)[label], intervals=False)
        ends.append((values[-1].mean, title(label), _looks(results)[label].colour))
    ax.set_xscale("log")
    plain_ticks(ax, [0.1, 0.16, 0.2, 0.3, 0.4])
    percent_axis(ax)
    ax.set(xlabel="least probability λ of both classes", title=f"Over λ, at {budget} evaluations")
    label_ends(ax, ends, 6.5)
    caption = (
        f"Mode mixture on {problem}: share of samples for which two classes both have probability λ or more. Mean and "
        "95% interval (left) over seeds. Left: λ = 0.2. Linear below 0.1%, logarithmic above."
    )
    return fig, caption


def frontier(results: Results) -> FIGURE | None:
    """Quality and copies, along the noise level σ_M of the targets."""
    shown = [p for p in results.problems if results.frontier(p)["sigma_m"].nunique() > 1 and results.quality(p)]
    if not shown:
        return None
    fig, axes = panels(len(shown), 3.6 * len(shown), 4.2, rows=2, margins=(0.07, 0.135, 0.1, 0.06), gap=0.62)
    fig.subplots_adjust(hspace=0.24)
    for column, problem in zip(axes.T, shown, strict=True):
        for ax, name in zip(column, (str(results.quality(problem)), COPIES), strict=True):
            _over_sigma_m(ax, results, problem, name)
        budget = int(results.frontier(problem)["nfe"].iloc[0])
        quality = metric(str(results.quality(problem))).label
        column[0].set(title=f"{quality}, {problem}, {budget} NFE", xlabel="", xticklabels=[])
    return fig, (
        "Quality (top) against novelty (bottom) over the noise level σ_M of the targets: mean and 95% interval over "
        "seeds. At small σ_M samples are the targets; from σ_M on, the network generates. Blue: the best plain sampler "
        "at the same budget. Grey: held-out examples."
    )


def ot_convergence(results: Results) -> FIGURE | None:
    """Total variation of the map's masses and its certified bound over the samples of the solve."""
    solves = _histories(results)
    if not solves:
        return None
    names = sorted({problem for problem, _, _ in solves})
    fig, axes = panels(len(names), 3.6 * len(names), 2.9, margins=(0.085, 0.12, 0.15, 0.11), gap=0.6)
    for ax, name in zip(axes[0], names, strict=True):
        here = [(sigma, history) for problem, sigma, history in solves if problem == name]
        colours = sns.color_palette("flare", len(here)).as_hex()
        for colour, (sigma, history) in zip(colours, here, strict=True):
            rows = pd.DataFrame(history).dropna(subset=["samples"])
            rows = rows[rows["samples"] > 0]  # the axis is logarithmic
            said = rf"$\sigma_M$ = {sigma:.2g}" + ("" if len(rows) else "\n(its start)")
            for column, line, mark in (("tv", "-", "o"), ("tv_bound", (0, (2.5, 1.5)), "_")):
                if column in rows:
                    label = said if column == "tv" else None
                    ax.plot(
                        rows["samples"], rows[column], mark, color=colour, linestyle=line, ms=4, lw=1.2, label=label
                    )
        ax.plot([], [], "_", color=MUTED, linestyle=(0, (2.5, 1.5)), label="certified\nbound")
        ax.set(xscale="log", yscale="log", xlabel="source samples drawn", title=name, ylabel="")
        ax.margins(0.12)
        widen(ax, "x", 30)
        widen(ax, "y", 4)
        log_ticks(ax)
        log_ticks(ax, "x")
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.legend(handlelength=1.6, labelspacing=0.35, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6.5)
    axes[0, 0].set_ylabel("total variation of cell masses")
    return fig, (
        "Convergence of the semi-discrete OT solve: total variation between the cells' masses and 1/N, on fresh "
        "samples. Where the legend says so, its start, the closed form, was certified as it is."
    )


def _against_nfe(ax: Axes, results: Results, problem: str, name: str) -> None:
    """One metric of every base arm over its counted evaluations, the floor of held-out examples drawn."""
    ends, budgets = [], set()
    for label in _lines(results, problem):
        points = [
            (
                int(results.at(problem, label, n)["nfe_counted"].max()),
                mean_interval(results.by_seed(problem, label, n, name)),
            )
            for n in results.budgets(problem, label)
        ]
        points = [(n, value) for n, value in points if value.count]
        if points:
            look = _looks(results)[label]
            _line(ax, [n for n, _ in points], [value for _, value in points], look)
            ends.append((points[-1][1].mean, title(label), look.colour))
            budgets |= set(results.budgets(problem, label))
    for label in (REAL, COPY):
        value = mean_interval(results.by_seed(problem, label, 0, name))
        if value.count:
            look = _looks(results)[label]
            ax.axhline(value.mean, color=look.colour, lw=1, dashes=(5, 2), zorder=1)
            if value.count > 1 and label == REAL:
                ax.axhspan(value.low, value.high, color=look.colour, alpha=0.13, lw=0, zorder=0)
            ends.append((value.mean, title(label), look.colour))
    ax.set_xscale("log")
    plain_ticks(ax, _thinned(sorted(budgets)))
    if metric(name).rate:
        percent_axis(ax)
    elif all(y > 0 for y, _, _ in ends):
        ax.set_yscale("log")
        means = np.array([y for line in ax.lines for y in np.asarray(line.get_ydata(), dtype=float)])
        ax.set_ylim(0.6 * means.min(), min(1.7 * means.max(), OUTLIER * np.median(means)))
        log_ticks(ax)
    ax.set(xlabel="network evaluations (NFE)", title=f"{metric(name).label}, {problem}", ylabel="")
    label_ends(ax, ends, 6.5)


def _line(ax: Axes, x: Sequence[float], values: Sequence[Interval], look: Look, intervals: bool = True) -> None:
    """Means as a line, intervals as bars."""
    mean = [v.mean for v in values]
    sns.lineplot(
        x=x, y=mean, ax=ax, color=look.colour, marker=look.marker, linestyle=look.line, errorbar=None,
        markersize=look.size, markeredgecolor="white", markeredgewidth=0.5, legend=False,
    )  # fmt: skip
    low = [v.mean - v.low if math.isfinite(v.low) else 0 for v in values]
    high = [v.high - v.mean if math.isfinite(v.high) else 0 for v in values]
    if intervals:
        ax.errorbar(x, mean, yerr=[low, high], fmt="none", ecolor=look.colour, elinewidth=0.9, alpha=0.5)


def _over_sigma_m(ax: Axes, results: Results, problem: str, name: str) -> None:
    """A metric of DPM-OT and its random latents over σ_M, with the best plain sampler and held-out examples."""
    points, quality = results.frontier(problem), str(results.quality(problem))
    budget, ends, look = int(points["nfe"].iloc[0]), [], _looks(results)
    for sampler, rows in points.groupby("sampler", sort=True):
        values = [mean_interval(results.by_seed(problem, str(a), budget, name)) for a in rows["label"]]
        _line(ax, rows["sigma_m"].tolist(), values, look[str(sampler)])
        ends.append((values[-1].mean, title(str(sampler)), look[str(sampler)].colour))
    plain = [a for a in results.arms(problem) if family(a) == "plain" and budget in results.budgets(problem, a)]
    best = sorted(plain, key=lambda a: results.by_seed(problem, a, budget, quality).mean())[:1]
    for label in [REAL, *best]:
        value = mean_interval(results.by_seed(problem, label, budget, name)).mean
        if math.isfinite(value):
            ax.axhline(value, color=look[label].colour, lw=1, dashes=(5, 2) if label == REAL else (1.5, 1.5), zorder=1)
            ends.append((value, title(label), look[label].colour))
    ax.set_xscale("log")
    plain_ticks(ax, _thinned(sorted(float(f"{s:.2g}") for s in points["sigma_m"].unique())))
    if metric(name).rate:
        percent_axis(ax)
    elif all(y > 0 for y, _, _ in ends):
        ax.set_yscale("log")
        means = [y for line in ax.lines for y in np.asarray(line.get_ydata(), dtype=float)]
        ax.set_ylim(0.6 * min(means), 1.6 * max(means))
        log_ticks(ax)
    ax.set(xlabel=r"noise level $\sigma_M$ of the targets", ylabel="", title="copies of training examples")
    label_ends(ax, ends, 6.5)


def _lines(results: Results, problem: str) -> list[str]:
    """Base arms that call the network."""
    runs = results.runs[(results.runs["problem"] == problem) & (results.runs["nfe_counted"] > 0)]
    return [label for label in results.arms(problem) if label in set(runs["label"])]


def _looks(results: Results) -> dict[str, Look]:
    return looks(tuple(sorted(results.runs.loc[results.runs["base"], "label"].unique())))


def _thinned(ticks: Sequence[float]) -> list[float]:
    """Ticks of a logarithmic axis that lie far enough apart to be read."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or tick >= 1.3 * kept[-1]:
            kept.append(tick)
    return kept


def _histories(results: Results) -> list[tuple[str, float, list[dict[str, float]]]]:
    """Histories of the solves of `dpmot` arms that set nothing but σ_M: problem, σ_M, history; one for each level."""
    found: dict[tuple[str, float], list[dict[str, float]]] = {}
    runs = results.runs[results.runs["sampler"] == OURS] if len(results.runs) else results.runs
    for run in rows_of(runs.sort_values(["seed", "nfe"])) if len(runs) else ():
        history = ((results.records[run.key].get("fit") or {}).get("info") or {}).get("history")
        if history and run.frontier:
            found.setdefault((run.problem, float(run.sigma_m)), history)
    return [(problem, sigma, history) for (problem, sigma), history in sorted(found.items())]


Maker = Callable[[Results], FIGURE | None]
