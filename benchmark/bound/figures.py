"""Figures of the study of the bound: error and bound over each factor, terms stacked, slopes against theory."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from benchmark.bound.dropped import TERMS
from benchmark.bound.grid import SOLVERS, everything
from benchmark.bound.slopes import Slope, one_at_a_time
from benchmark.bound.tables import checked
from benchmark.report.figures.looks import INK
from benchmark.report.figures.style import WIDE, log_ticks, panels, plain_ticks, save, theme

BOUND, SYNCHRONOUS = "#d1495b", "#00806a"
TERM_COLOURS = dict(zip(TERMS, sns.color_palette("colorblind", len(TERMS)).as_hex(), strict=True))
AXES = {
    "targets": "targets N",
    "level": "level σ_M / s",
    "intervals": "steps K",
    "solver": "solver",
    "tv": "total variation of masses",
    "score_error": "score error · s",
    "end": "end level σ_e / s",
}
PANELS = {
    "discretisation": ("term_discretisation", "intervals", "steps K"),
    "score": ("realised_score", "score_error", "score error · s"),
    "mass": ("mass_distance", "tv", "total variation of masses"),
    "end level": ("term_end_level", "end", "end level σ_e / s"),
    "finite targets": ("finite_targets_distance", "targets", "targets N"),
}
"""Term -> its column, the column of the factor, and how the factor is called."""
SHOWN = ("overlapping-2", "overlapping-32", "separate-2", "digits-64")
STACK_LIMIT = 5.0


def write(cells: pd.DataFrame, fitted: Sequence[Slope], folder: Path) -> None:
    """`factors`, `terms` and `slopes`, each as PDF and PNG."""
    theme()
    for name, fig in (("factors", factors(cells)), ("terms", terms(cells)), ("slopes", slopes(cells, fitted))):
        if fig is not None:
            save(fig, folder, name)


def factors(cells: pd.DataFrame) -> Figure | None:
    """Error with its interval, bound, and synchronous sum, over each factor alone; a row for each mixture."""
    cells = checked(cells)
    shown = [name for name in SHOWN if (cells["mixture"] == name).any()]
    if not shown:
        return None
    height = 1.5 * len(shown) + 1.1
    margins = (0.06, 0.01, 0.75 / height, 0.35 / height)
    fig, axes = panels(len(AXES), 1.5 * WIDE, height, rows=len(shown), margins=margins, gap=0.4)
    for row, name in zip(axes, shown, strict=True):
        for ax, factor in zip(row, AXES, strict=True):
            _factor(ax, one_at_a_time(cells[cells["mixture"] == name], "masses" if factor == "tv" else factor), factor)
            if name == shown[-1]:
                ax.set_xlabel(AXES[factor])
            elif factor == "solver":
                ax.set_xticklabels([])
        row[0].set_ylabel(f"W₂, {name}")
    legends = [ax.get_legend_handles_labels() for ax in axes.flat if ax.get_visible()]
    if not legends:
        return None
    fig.legend(*legends[0], loc="upper left", ncol=3, bbox_to_anchor=(0.05, 1.0))
    return fig


def _factor(ax: Axes, part: pd.DataFrame, factor: str) -> None:
    if factor == "solver":
        part = part.assign(solver=part["solver"].map(SOLVERS.index))
    elif factor in ("tv", "score_error"):
        part = part[part[factor] > 0]
    if part.empty:
        ax.set_visible(False)
        return
    part = part.sort_values(factor)
    x = part[factor]
    ax.plot(x, part["bound"], "-s", color=BOUND, label="our bound", markersize=3)
    ax.plot(x, part["synchronous"], "--", color=SYNCHRONOUS, label="synchronous sum")
    ax.plot(x, part["value"], "-o", color=INK, label="measured, 95% interval", markersize=3)
    ax.fill_between(x, part["low"], part["high"], color=INK, alpha=0.15, lw=0)
    ax.set_yscale("log")
    if factor == "solver":
        ax.set_xticks(
            range(len(SOLVERS)), [name.replace("dpm-solver", "dpm") for name in SOLVERS], rotation=60, fontsize=6
        )
    elif factor == "tv":
        ax.set_xscale("log")
    else:
        ax.set_xscale("log")
        plain_ticks(ax, sorted(set(x)))
        ax.tick_params(axis="x", labelsize=6)
    least, most = part["low"].min(), part["bound"].max()
    most = max(most, 2 * least)
    room = (most / least) ** 0.08
    ax.set_ylim(least / room, most * room)
    if most < 500 * least:
        log_ticks(ax)
    ax.yaxis.set_minor_locator(NullLocator())


def terms(cells: pd.DataFrame) -> Figure | None:
    """The terms over the error, stacked: as the bound states them (left of a pair) and as realised (right).

    A stack beyond `STACK_LIMIT` is shrunk to it, its shares kept.
    """
    cells = checked(cells)
    wanted = {everything(name).key(): name for name in cells["mixture"].unique()}
    part = cells[cells["key"].isin(list(wanted))]
    if part.empty:
        return None
    fig, grid = panels(1, WIDE, 3.0, margins=(0.08, 0.02, 0.22, 0.16))
    ax = grid[0, 0]
    for place, (_, row) in enumerate(part.iterrows()):
        for side, kind in ((-0.2, "term"), (0.2, "realised")):
            heights = np.array([row[f"{kind}_{term}"] for term in TERMS]) / row["value"]
            total = heights.sum()
            heights *= min(1.0, STACK_LIMIT / total)
            faint = 1.0 if kind == "term" else 0.55
            for term, height, foot in zip(TERMS, heights, heights.cumsum() - heights, strict=True):
                label = term.replace("_", " ") if place == 0 and kind == "term" else None
                ax.bar(
                    place + side, height, 0.36, bottom=foot, color=TERM_COLOURS[term], alpha=faint, label=label, lw=0
                )
            ax.text(place + side, heights.sum() + 0.05, f"{total:.2g}×", ha="center", va="bottom", fontsize=6)
    ax.axhline(1, color=INK, lw=1)
    ax.set_ylim(0, STACK_LIMIT * 1.08)
    ax.set_xticks(range(len(part)), list(part["mixture"]), rotation=30, ha="right")
    ax.set_ylabel("terms / measured W₂")
    ax.grid(axis="x", visible=False)
    fig.legend(loc="upper left", ncol=len(TERMS), bbox_to_anchor=(0.07, 1.0))
    return fig


def slopes(cells: pd.DataFrame, fitted: Sequence[Slope]) -> Figure | None:
    """Every term over the factor it scales with, in log-log; dotted: what theory gives. The mass term without G."""
    names = [name for name in PANELS if any(slope.term == name for slope in fitted)]
    if not names:
        return None
    fig, axes = panels(len(names), 1.5 * WIDE, 3.0, margins=(0.04, 0.02, 0.36, 0.1), gap=0.3)
    for ax, name in zip(axes[0], names, strict=True):
        column, against, label = PANELS[name]
        colours = iter(sns.color_palette("colorblind", 10))
        for line in [slope for slope in fitted if slope.term == name]:
            if name == "discretisation" and line.mixture != fitted[0].mixture:
                continue
            part = line.rows(cells)
            means = part.groupby(against)[column].mean()
            colour = next(colours)
            ax.plot(part[against], part[column], "o", color=colour, markersize=2.5)
            shown = f"{line.detail if name == 'discretisation' else line.mixture}: {line.value:.3g}"
            ax.plot(means.index, means, color=colour, lw=0.8, label=shown)
            x = np.array([means.index.min(), means.index.max()])
            for exponent in {line.theory, line.theory_to}:
                ax.plot(x, means.iloc[0] * (x / x[0]) ** exponent, ":", color=colour, lw=0.8)
        ax.set_xscale("log")
        ax.set_yscale("log")
        if against != "tv":
            plain_ticks(ax, sorted(set(part[against])))
        ax.yaxis.set_minor_formatter(NullFormatter())
        if name == "finite targets":
            log_ticks(ax)
        ax.set_title(f"{name}, {fitted[0].mixture}" if name == "discretisation" else name, fontsize=8)
        ax.set_xlabel(label)
        ax.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.24), ncol=2, fontsize=4.8, handlelength=1, columnspacing=0.6
        )
    return fig
