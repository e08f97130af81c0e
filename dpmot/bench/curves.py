"""The races' figure: the certified bound on TV against seconds, one panel for each problem and machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .summary import of_newest_code

LEVELS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
MARKERS = "so^Dv"


def draw(groups: Mapping[str, list[dict[str, Any]]], folder: Path) -> list[Path]:
    """race.png and race.pdf. groups: by heading, races on the same problem and machine."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns
    from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

    sns.set_theme(style="whitegrid", context="paper")
    peers = sorted({run["solver"] for races in groups.values() for race in races for run in race["runs"]} - {"dpmot"})
    colours = sns.color_palette("colorblind", 10)
    looks = {
        peer: {"color": colours[1 + i], "marker": MARKERS[i % len(MARKERS)], "ms": 3.5} for i, peer in enumerate(peers)
    }
    columns = min(len(groups), 2)
    rows = -(-len(groups) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(5 * columns, 3.6 * rows + 0.5), sharey=True, squeeze=False, layout="constrained"
    )
    for axis in list(axes.T.flat)[len(groups) :]:
        axis.set_visible(False)
    for axis, races in zip(axes.T.flat, groups.values(), strict=False):
        runs = [run for race in races for run in race["runs"]]
        for peer in peers:
            theirs = [run for run in runs if run["solver"] == peer and run["curve"]]
            lowest = min(theirs, key=_lowest)["setting"] if theirs else ""
            for run in sorted(theirs, key=lambda run: run["setting"] == lowest):
                best = run["setting"] == lowest
                curve = [(point["seconds"], point["judge"]["tv_bound"]) for point in run["curve"]]
                style = looks[peer] if best else {"color": looks[peer]["color"], "alpha": 0.45}
                label = peer if best else None
                axis.plot(*zip(*curve, strict=True), lw=1.6 if best else 0.7, label=label, zorder=2 + best, **style)
        newest = of_newest_code(races)
        for race in races:
            points = [(run["seconds"], run["judge"]["tv_bound"]) for run in race["runs"] if run["solver"] == "dpmot"]
            now = race in newest
            style = {"color": colours[0], "alpha": 1.0 if now else 0.35, "label": "dpmot" if now else None}
            axis.plot(*zip(*points, strict=True), "o:", lw=1.5, ms=6, zorder=4 + now, **style)
        problem = races[0]["problem"]
        axis.set(
            xscale="log", yscale="log", xlabel="seconds",
            title=f"{problem['targets']}, N = {problem['n']:,}, {races[0]['machine']['device']}",
        )  # fmt: skip
        axis.yaxis.set_major_locator(FixedLocator(LEVELS))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for axis in axes[:, 0]:
        axis.set_ylabel("certified bound on TV (99%)")
    entries = {label: line for axis in axes.flat for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    names = ["dpmot", *(peer for peer in peers if peer in entries)]
    figure.legend([entries[name] for name in names], names, loc="outside lower center", ncols=6, frameon=False)
    paths = [folder / "race.png", folder / "race.pdf"]
    for path in paths:
        figure.savefig(path, dpi=150)
    plt.close(figure)
    return paths


def _lowest(run: dict[str, Any]) -> float:
    return min(point["judge"]["tv_bound"] for point in run["curve"])
