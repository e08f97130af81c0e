"""Figures of trajectories on the plane."""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from benchmark.report.arms import OURS, SHORTENED, Arm
from benchmark.report.comparing import few_budget
from benchmark.report.figures.figure import Drawn, figure
from benchmark.report.figures.looks import INK, MUTED, OT
from benchmark.report.figures.style import WIDE, bare, panels
from benchmark.report.results import Results

Arrays = dict[str, NDArray]
STEPS = ("#a9cdec", "#2f6fb3", "#0c2350")  # colours of the network's steps, from noise to sample
PATHS = 32  # trajectories drawn


@figure("trajectories", "Trajectories", section="samples", each_problem=True)
def trajectories(results: Results, problem: str) -> Drawn:
    """The paths of a plain sampler and of DPM-OT from the same white noise."""
    budget = few_budget(results, problem)
    if budget is None:
        return None
    others = [arm for arm in results.arms(problem) if arm.family == "plain"]
    plain = _path(results, problem, budget, [SHORTENED, *others])
    ours = _path(results, problem, budget, [OURS])
    if plain is None or ours is None:
        return None
    reference = ours[1].get("reference", ours[1]["samples"]).astype(float)
    scale = float(reference.std())
    fig, axes = panels(2, WIDE, 3.95, margins=(0.01, 0.01, 0.075, 0.075), gap=0.03)
    reach = 1.04 * max(np.abs(reference).max(), 2.1 * scale)
    for ax, (arm, arrays) in zip(axes[0], (plain, ours), strict=True):
        ax.scatter(*reference.T, s=7, color="#e3e6ea", lw=0, rasterized=True, zorder=0)
        start, path = _scaled(arrays, scale)
        chosen = np.flatnonzero(np.abs(start).max(1) < reach)[:PATHS]
        if arm == OURS:
            _expressway(ax, start[chosen], path[:, chosen])
        else:
            _walk(ax, np.concatenate([start[None], path[1:]])[:, chosen])
        bare(ax, reach)
        calls = len(arrays["trajectory_sigma"]) - 1
        told = f"one jump, {calls} evaluations below σ_M" if arm == OURS else f"{calls} evaluations from noise"
        ax.set_title(f"{arm.title}: {told}".replace("σ_M", r"$\sigma_M$"), fontsize=8.5)
    _key(fig)
    return fig, (
        f"Trajectories on {problem} from the same white noise (open circles), at {budget} evaluations. A state at "
        "noise level σ is drawn at s·x/√(s² + σ²), s the data's standard deviation, so that every level has the same "
        "spread. Left: a dot is a network evaluation. Right: a red line is the transport map z → T(z); what the "
        "network then does is drawn in blue."
    )


def _path(results: Results, problem: str, budget: int, arms: Sequence[Arm]) -> tuple[Arm, Arrays] | None:
    """The first of the arms whose paths were stored, with what was."""
    for arm in arms:
        arrays = results.pictures(problem, arm, budget)
        if arrays and {"trajectory", "trajectory_sigma", "noise"} <= set(arrays):
            return arm, arrays
    return None


def _scaled(arrays: Arrays, scale: float) -> tuple[NDArray, NDArray]:
    """White noise [n, 2] and path [T, n, 2] with every noise level brought to the data's spread."""
    sigma = arrays["trajectory_sigma"].astype(float)[:, None, None]
    return scale * arrays["noise"].astype(float), arrays["trajectory"].astype(float) / np.sqrt(1 + (sigma / scale) ** 2)


def _walk(ax: Axes, path: NDArray) -> None:
    """A path step by step, [T, n, 2], from light to dark as the noise falls."""
    colours: Colormap = sns.color_palette(f"blend:{','.join(STEPS)}", as_cmap=True)
    shades = colours(np.linspace(0, 1, len(path) - 1))
    for k, shade in enumerate(shades):
        ax.add_collection(LineCollection(list(np.stack([path[k], path[k + 1]], 1)), colors=[shade], lw=1.1, zorder=2))
        if k > 0:
            ax.scatter(path[k, :, 0], path[k, :, 1], s=3.5, color=shade, lw=0, zorder=3)
    _ends(ax, path[0], path[-1])


def _expressway(ax: Axes, start: NDArray, path: NDArray) -> None:
    """The jump z → T(z) as a straight line, then the short path [T, n, 2] that the network walks."""
    ax.add_collection(LineCollection(list(np.stack([start, path[0]], 1)), colors=OT, lw=1.0, alpha=0.75, zorder=2))
    ax.scatter(path[0, :, 0], path[0, :, 1], s=16, facecolor="white", edgecolor=OT, lw=1, zorder=4)
    ax.add_collection(LineCollection(list(np.swapaxes(path, 0, 1)), colors=STEPS[-2], lw=1.4, zorder=5))
    _ends(ax, start, path[-1])


def _key(fig: Figure) -> None:
    """What the signs of the trajectories mean, below both panels."""
    signs = {
        "white noise z": Line2D([], [], mec=MUTED, ms=4, marker="o", mfc="white", lw=0),
        "transport z → T(z)": Line2D([], [], color=OT, lw=1.2, marker="o", ms=5, mfc="white", markevery=[1]),
        "steps of the network": Line2D([], [], color=STEPS[-2], lw=1.5),
        "sample": Line2D([], [], color=INK, marker="o", ms=3.5, lw=0),
    }
    fig.legend(signs.values(), signs.keys(), loc="lower center", ncols=4, borderaxespad=0.2, columnspacing=2.2)


def _ends(ax: Axes, start: NDArray, end: NDArray) -> None:
    """Open circles at the white noise, dots at the samples."""
    ax.scatter(start[:, 0], start[:, 1], s=11, facecolor="white", edgecolor=MUTED, lw=0.8, zorder=4)
    ax.scatter(end[:, 0], end[:, 1], s=9, color=INK, lw=0, zorder=6)
