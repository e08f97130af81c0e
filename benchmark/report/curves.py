"""Figures of measured values: against NFE, λ, σ_M and samples of the OT solve."""

import math
from collections.abc import Callable

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.report.claims import COPY, OURS, REAL, few_budget
from benchmark.report.reading import Results
from benchmark.report.statistics import mean_interval
from benchmark.report.style import COLUMN, WIDE, label_ends, log_ticks, panels, percent_axis, plain_ticks
from benchmark.report.vocabulary import COPIES, FLOOR, MIXTURE, MUTED, Look, family, looks, metric, mixture_level, title

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
        f"Quality on {problem} against network evaluations: mean and 95% interval over seeds; lower is better. Right: "
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
        _line(ax, [level for level, _ in levels], values, _looks(results)[label])
        ends.append((values[-1].mean, title(label), _looks(results)[label].colour))
    ax.set_xscale("log")
    plain_ticks(ax, [0.1, 0.16, 0.2, 0.3, 0.4])
    percent_axis(ax)
    ax.set(xlabel="least probability λ of both classes", title=f"Over λ, at {budget} evaluations")
    label_ends(ax, ends, 6.5)
    caption = (
        f"Mode mixture on {problem}: share of samples for which two classes both have probability λ or more. Mean and "
        "95% interval over seeds. Left: λ = 0.2. Linear below 0.1%, logarithmic above."
    )
    return fig, caption


def frontier(results: Results) -> FIGURE | None:
    """Quality against copies, along the noise level σ_M of the targets."""
    shown = [p for p in results.problems if results.frontier(p)["sigma_m"].nunique() > 1 and results.quality(p)]
    if not shown:
        return None
    width = 3.1 * len(shown) + 1.3
    fig, axes = panels(len(shown), width, 3.3, margins=(0.55 / width, 1.35 / width, 0.13, 0.1), gap=0.28)
    for ax, problem in zip(axes[0], shown, strict=True):
        _frontier_panel(ax, results, problem)
    named = {text: handle for ax in axes[0] for handle, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    fig.legend(named.values(), named.keys(), loc="center right", handlelength=2.2, borderaxespad=0.3)
    caption = (
        "Quality against novelty as the noise level σ_M of the targets grows (numbers beside the points), with "
        "intervals over seeds. To the left samples are new, to the right copies of training examples. Dashed: held-out "
        "examples."
    )
    return fig, caption


def ot_convergence(results: Results) -> FIGURE | None:
    """Total variation of the map's masses and its certified bound over the samples of the solve."""
    solves = _histories(results)
    if not solves:
        return None
    names = sorted({problem for problem, _, _ in solves})
    fig, axes = panels(len(names), max(COLUMN, 3.6 * len(names)), 2.9, margins=(0.085, 0.02, 0.15, 0.11), gap=0.25)
    for ax, name in zip(axes[0], names, strict=True):
        here = [(sigma, history) for problem, sigma, history in solves if problem == name]
        colours = sns.color_palette("flare", len(here)).as_hex()
        for colour, (sigma, history) in zip(colours, here, strict=True):
            rows = pd.DataFrame(history).dropna(subset=["samples"])
            for column, line, mark in (("tv", "-", "o"), ("tv_bound", (0, (2.5, 1.5)), None)):
                if column in rows:
                    sns.lineplot(
                        x=rows["samples"], y=rows[column], ax=ax, color=colour, linestyle=line, marker=mark,
                        errorbar=None, markersize=3.5,
                        label=f"σ_M = {sigma:.3g}".replace("σ_M", r"$\sigma_M$") if column == "tv" else None,
                    )  # fmt: skip
        ax.plot([], [], color=MUTED, linestyle=(0, (2.5, 1.5)), label="certified bound")
        ax.set(xscale="log", yscale="log", xlabel="source samples drawn", title=name, ylabel="")
        log_ticks(ax)
        ax.legend(handlelength=1.8, labelspacing=0.3)
    axes[0, 0].set_ylabel("total variation of cell masses")
    return fig, (
        "Convergence of the semi-discrete OT solve: total variation between the cells' masses and 1/N, on fresh samples."
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
            if value.count > 1:
                ax.axhspan(value.low, value.high, color=look.colour, alpha=0.13, lw=0, zorder=0)
            ends.append((value.mean, title(label), look.colour))
    ax.set_xscale("log")
    plain_ticks(ax, _thinned(sorted(budgets)))
    if metric(name).rate:
        percent_axis(ax)
    elif all(y > 0 for y, _, _ in ends):
        ax.set_yscale("log")
        log_ticks(ax)
    ax.set(xlabel="network evaluations (NFE)", title=f"{metric(name).label}, {problem}", ylabel="")
    label_ends(ax, ends, 6.5)


def _line(ax: Axes, x: list[float], values: list, look: Look) -> None:
    """Means as a line, intervals as bars."""
    mean = [v.mean for v in values]
    sns.lineplot(
        x=x, y=mean, ax=ax, color=look.colour, marker=look.marker, linestyle=look.line, errorbar=None,
        markeredgecolor="white", markeredgewidth=0.5,
    )  # fmt: skip
    low = [v.mean - v.low if math.isfinite(v.low) else 0 for v in values]
    high = [v.high - v.mean if math.isfinite(v.high) else 0 for v in values]
    ax.errorbar(x, mean, yerr=[low, high], fmt="none", ecolor=look.colour, elinewidth=0.8, alpha=0.7)


def _frontier_panel(ax: Axes, results: Results, problem: str) -> None:
    quality = str(results.quality(problem))
    points = results.frontier(problem)
    budget = int(points["nfe"].iloc[0])
    for sampler, rows in points.groupby("sampler", sort=True):
        look = _looks(results)[str(sampler)]
        x = [mean_interval(results.by_seed(problem, r.label, budget, COPIES)) for r in rows.itertuples()]
        y = [mean_interval(results.by_seed(problem, r.label, budget, quality)) for r in rows.itertuples()]
        _line(ax, [v.mean for v in x], y, look)
        ax.plot([], [], color=look.colour, marker=look.marker, linestyle=look.line, label=title(str(sampler)))
        if sampler == OURS:
            for row, u, v in zip(rows.itertuples(), x, y, strict=True):
                ax.annotate(f"{row.sigma_m:.2g}", (u.mean, v.mean), (4, 5), textcoords="offset points", fontsize=6.5)
    for label in results.arms(problem):
        if family(label) == "plain" and budget in results.budgets(problem, label):
            place = [mean_interval(results.by_seed(problem, label, budget, name)).mean for name in (COPIES, quality)]
            look = _looks(results)[label]
            ax.plot(*place, look.marker, color=look.colour, ms=4.5, mec="white", mew=0.5, label=title(label))
    for name, line in ((COPIES, ax.axvline), (quality, ax.axhline)):
        value = mean_interval(results.by_seed(problem, REAL, 0, name)).mean
        if math.isfinite(value):
            line(value, color=FLOOR, lw=0.9, dashes=(5, 2), zorder=0)
    ax.set_yscale("log")
    percent_axis(ax, "x", 1e-2)
    log_ticks(ax)
    ax.set(xlabel="copies of training examples", ylabel=metric(quality).label, title=f"{problem}, {budget} NFE")


def _lines(results: Results, problem: str) -> list[str]:
    """Base arms that call the network."""
    runs = results.runs[(results.runs["problem"] == problem) & (results.runs["nfe_counted"] > 0)]
    return [label for label in results.arms(problem) if label in set(runs["label"])]


def _looks(results: Results) -> dict[str, Look]:
    return looks(tuple(sorted(results.runs.loc[results.runs["base"], "label"].unique())))


def _thinned(ticks: list[int]) -> list[int]:
    """Ticks of a logarithmic axis that lie far enough apart to be read."""
    kept: list[int] = []
    for tick in ticks:
        if not kept or tick >= 1.3 * kept[-1]:
            kept.append(tick)
    return kept


def _histories(results: Results) -> list[tuple[str, float, list[dict[str, float]]]]:
    """Histories of the solves of `dpmot` arms that set nothing but σ_M: problem, σ_M, history; one for each level."""
    found: dict[tuple[str, float], list[dict[str, float]]] = {}
    runs = results.runs[results.runs["sampler"] == OURS] if len(results.runs) else results.runs
    for run in runs.sort_values(["seed", "nfe"]).itertuples() if len(runs) else ():
        history = ((results.records[run.key].get("fit") or {}).get("info") or {}).get("history")
        if history and run.frontier:
            found.setdefault((run.problem, float(run.sigma_m)), history)
    return [(problem, sigma, history) for (problem, sigma), history in sorted(found.items())]


Maker = Callable[[Results], FIGURE | None]
