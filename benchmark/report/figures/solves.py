"""Figure of the convergence of OT solves."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from benchmark.report.arms import OURS
from benchmark.report.figures.figure import Drawn, figure
from benchmark.report.figures.looks import MUTED
from benchmark.report.figures.style import log_ticks, panels, widen
from benchmark.report.results import Results, rows_of

History = list[dict[str, float]]
CERTIFIED = (0, (2.5, 1.5))  # dashes of the certified bound


@figure("ot-convergence", "Convergence of the transport solve", section="transport")
def ot_convergence(results: Results) -> Drawn:
    """Total variation of the map's masses and its certified bound over the samples of the solve."""
    solves = _histories(results)
    if not solves:
        return None
    fig, axes = panels(len(solves), 3.6 * len(solves), 2.9, margins=(0.085, 0.12, 0.15, 0.11), gap=0.6)
    for ax, (problem, histories) in zip(axes[0], solves.items(), strict=True):
        _over_samples(ax, problem, histories)
    axes[0, 0].set_ylabel("total variation of cell masses")
    return fig, (
        "Convergence of the semi-discrete OT solve: total variation between the cells' masses and 1/N, on fresh "
        "samples. Where the legend says so, its start, the closed form, was certified as it is."
    )


def _over_samples(ax: Axes, problem: str, histories: dict[float, History]) -> None:
    """The solves of one problem, a colour for each noise level."""
    colours = sns.color_palette("flare", len(histories)).as_hex()
    for colour, (sigma, history) in zip(colours, histories.items(), strict=True):
        rows = pd.DataFrame(history).dropna(subset=["samples"])
        rows = rows[rows["samples"] > 0]  # the axis is logarithmic
        said = rf"$\sigma_M$ = {sigma:.2g}" + ("" if len(rows) else "\n(its start)")
        style = {"color": colour, "ms": 4, "lw": 1.2}
        if "tv" in rows:
            ax.plot(rows["samples"], rows["tv"], "o", linestyle="-", label=said, **style)
        if "tv_bound" in rows:
            ax.plot(rows["samples"], rows["tv_bound"], "_", linestyle=CERTIFIED, **style)
    ax.plot([], [], "_", color=MUTED, linestyle=CERTIFIED, label="certified\nbound")
    ax.set(xscale="log", yscale="log", xlabel="source samples drawn", title=problem, ylabel="")
    ax.margins(0.12)
    widen(ax, "x", 30)
    widen(ax, "y", 4)
    log_ticks(ax)
    log_ticks(ax, "x")
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.legend(handlelength=1.6, labelspacing=0.35, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6.5)


def _histories(results: Results) -> dict[str, dict[float, History]]:
    """Problem -> σ_M -> history of the solve, of the arms of DPM-OT that set nothing but σ_M; one for each level."""
    found: dict[str, dict[float, History]] = {}
    runs = results.runs[results.runs["sampler"] == OURS.sampler].sort_values(["seed", "nfe"])
    for run in rows_of(runs):
        history = ((results.records[run.key].get("fit") or {}).get("info") or {}).get("history")
        if history and run.frontier:
            found.setdefault(run.problem, {}).setdefault(float(run.sigma_m), history)
    return {problem: dict(sorted(found[problem].items())) for problem in sorted(found)}
