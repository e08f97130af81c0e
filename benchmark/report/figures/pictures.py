"""Figures of samples: scatter on the plane, grids of images, trajectories."""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from benchmark.report.comparing import COPY, OURS, RANDOM, REAL, RELEASED, STUDENTS, UNSOLVED, few_budget
from benchmark.report.figures.curves import FIGURE
from benchmark.report.figures.style import WIDE, panels
from benchmark.report.names import INK, MUTED, OT, family, looks, title
from benchmark.report.results import Results

Arrays = dict[str, NDArray]
PLAIN = ("ddim", "dpm-solver++-2m", "unipc", "heun", "ddpm")
SHOWN = (*PLAIN, *STUDENTS, OURS, RELEASED, RANDOM, UNSOLVED, COPY, REAL)
STEPS = ("#a9cdec", "#2f6fb3", "#0c2350")  # colours of the network's steps, from noise to sample
PATHS = 32  # trajectories drawn


def samples(results: Results, problem: str) -> FIGURE | None:
    """Samples of the arms side by side: points on the plane, or images."""
    found = stored(results, problem)
    if not found:
        return None
    shape = next(iter(found.values()))["samples"].shape
    return scatter(results, problem, found) if shape[1:] == (2,) else images(results, problem, found)


def stored(results: Results, problem: str) -> dict[str, Arrays]:
    """Stored samples of the arms worth showing side by side, by label, at few evaluations."""
    budget = few_budget(results, problem)
    if budget is None:
        budget = int(results.runs.loc[results.runs["problem"] == problem, "nfe"].max())
    arms = results.arms(problem)
    chosen = [a for a in SHOWN if a in arms] + [a for a in arms if a not in SHOWN and family(a) != "plain"]
    beside = {label: results.close(problem, label, budget) for label in chosen}
    found = {label: results.pictures(problem, label, nfe) for label, nfe in beside.items() if nfe is not None}
    return {label: arrays for label, arrays in found.items() if arrays and "samples" in arrays}


def scatter(results: Results, problem: str, found: dict[str, Arrays]) -> FIGURE:
    """Points of each arm over the reference."""
    rows = -(-len(found) // 6)
    columns = -(-len(found) // rows)
    fig, axes = panels(
        columns, WIDE, (7.1 / columns + 0.17) * rows, rows, margins=(0.01, 0.01, 0.01, 0.13 / rows), gap=0.0
    )
    fig.subplots_adjust(wspace=0.05, hspace=0.16)
    reference = next((a["reference"] for a in found.values() if "reference" in a), None)
    look = looks(tuple(sorted(found)))
    reach = 1.12 * np.quantile(
        np.abs(reference if reference is not None else next(iter(found.values()))["samples"]), 0.999
    )
    for ax, (label, arrays) in zip(axes.flat, found.items(), strict=False):
        if reference is not None:
            ax.scatter(*reference.astype(float).T, s=5, color="#dfe2e6", lw=0, rasterized=True)
        ax.scatter(*arrays["samples"].astype(float).T, s=1.6, color=look[label].colour, lw=0, rasterized=True)
        _bare(ax, reach)
        ax.set_title(title(label), fontsize=7, color=look[label].colour, pad=3)
    for ax in axes.flat[len(found) :]:
        ax.axis("off")
    return fig, (
        f"Samples on {problem} at {few_budget(results, problem)} evaluations (one seed, same noise). Grey: held-out "
        "examples."
    )


def images(results: Results, problem: str, found: dict[str, Arrays]) -> FIGURE:
    """A grid of images for each arm; fewer of them from 32 pixels on."""
    rows = -(-len(found) // 5)
    columns = -(-len(found) // rows)
    fig, axes = panels(
        columns, WIDE, (7.1 / columns + 0.17) * rows, rows, margins=(0.01, 0.01, 0.01, 0.13 / rows), gap=0.0
    )
    fig.subplots_adjust(wspace=0.06, hspace=0.17)
    look = looks(tuple(sorted(found)))
    for ax, (label, arrays) in zip(axes.flat, found.items(), strict=False):
        side = 6 if arrays["samples"].shape[1] < 32 else 4
        ax.imshow(_tiled(arrays["samples"], side), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        ax.axis("off")
        ax.set_title(title(label), fontsize=7, color=look[label].colour, pad=3)
    for ax in axes.flat[len(found) :]:
        ax.axis("off")
    caption = f"Samples on {problem} at {few_budget(results, problem)} evaluations (one seed, same noise)."
    if OURS in results.arms(problem) and OURS not in found:
        caption += " Arms that start from examples of the data are left out: it is not ours to give away."
    return fig, caption


def trajectories(results: Results, problem: str) -> FIGURE | None:
    """The paths of a plain sampler and of DPM-OT from the same white noise."""
    budget = few_budget(results, problem)
    if budget is None:
        return None
    plain = _path(results, problem, budget, [a for a in ("ddim", *results.arms(problem)) if family(a) == "plain"])
    ours = _path(results, problem, budget, [OURS])
    if plain is None or ours is None:
        return None
    reference = ours[1].get("reference", ours[1]["samples"]).astype(float)
    scale = float(reference.std())
    fig, axes = panels(2, WIDE, 3.95, margins=(0.01, 0.01, 0.075, 0.075), gap=0.03)
    reach = 1.04 * max(np.abs(reference).max(), 2.1 * scale)
    for ax, (label, arrays) in zip(axes[0], (plain, ours), strict=True):
        ax.scatter(*reference.T, s=7, color="#e3e6ea", lw=0, rasterized=True, zorder=0)
        start, path = _scaled(arrays, scale)
        chosen = np.flatnonzero(np.abs(start).max(1) < reach)[:PATHS]
        if label == OURS:
            _expressway(ax, start[chosen], path[:, chosen])
        else:
            _walk(ax, np.concatenate([start[None], path[1:]])[:, chosen])
        _bare(ax, reach)
        calls = len(arrays["trajectory_sigma"]) - 1
        told = f"one jump, {calls} evaluations below σ_M" if label == OURS else f"{calls} evaluations from noise"
        ax.set_title(f"{title(label)}: {told}".replace("σ_M", r"$\sigma_M$"), fontsize=8.5)
    _key(fig)
    return fig, (
        f"Trajectories on {problem} from the same white noise (open circles), at {budget} evaluations. A state at "
        "noise level σ is drawn at s·x/√(s² + σ²), s the data's standard deviation, so that every level has the same "
        "spread. Left: a dot is a network evaluation. Right: a red line is the transport map z → T(z); what the "
        "network then does is drawn in blue."
    )


def _path(results: Results, problem: str, budget: int, labels: Sequence[str]) -> tuple[str, Arrays] | None:
    for label in labels:
        arrays = results.pictures(problem, label, budget)
        if arrays and {"trajectory", "trajectory_sigma", "noise"} <= set(arrays):
            return label, arrays
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
    ax.scatter(start[:, 0], start[:, 1], s=11, facecolor="white", edgecolor=MUTED, lw=0.8, zorder=4)
    ax.scatter(end[:, 0], end[:, 1], s=9, color=INK, lw=0, zorder=6)


def _bare(ax: Axes, reach: float) -> None:
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_color("#d5d9de")


def _tiled(pictures: NDArray, side: int) -> NDArray:
    """The first side² images [n, H, W(, 3)] as one, with a thin line between them."""
    shown = pictures[: side**2]
    if shown.ndim == 4 and shown.shape[-1] == 1:
        shown = shown[..., 0]
    height, width = shown.shape[1] + 1, shown.shape[2] + 1
    sheet = np.full((side * height - 1, side * width - 1, *shown.shape[3:]), 255, np.uint8)
    for i, picture in enumerate(shown):
        row, column = divmod(i, side)
        sheet[row * height : (row + 1) * height - 1, column * width : (column + 1) * width - 1] = picture
    return sheet
