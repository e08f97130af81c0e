"""The races' figure: the certified bound on TV against seconds, one panel for each problem and machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .summary import of_newest_code

LEVELS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
MARKERS = "so^Dv"


Race = dict[str, Any]


def draw(groups: Mapping[str, list[Race]], folder: Path) -> list[Path]:
    """Draw race.png and race.pdf. groups: by heading, races on the same problem and machine."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    sns.set_theme(style="whitegrid", context="paper")
    peers = sorted({run["solver"] for races in groups.values() for race in races for run in race["runs"]} - {"dpmot"})
    colours = dict(zip(["dpmot", *peers], sns.color_palette("colorblind", 10), strict=False))
    columns = min(len(groups), 2)
    rows = -(-len(groups) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(5 * columns, 3.6 * rows + 0.5), sharey=True, squeeze=False, layout="constrained"
    )
    for axis in list(axes.T.flat)[len(groups) :]:
        axis.set_visible(False)
    for axis, races in zip(axes.T.flat, groups.values(), strict=False):
        for number, peer in enumerate(peers):
            _draw_peer(axis, races, peer, colours[peer], MARKERS[number % len(MARKERS)])
        _draw_ours(axis, races, colours["dpmot"])
        _label(axis, races[0])
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


def _draw_peer(axis: Any, races: list[Race], peer: str, colour: Any, marker: str) -> None:
    """A peer's curves: its best setting stands out, with a name for the legend."""
    theirs = [run for race in races for run in race["runs"] if run["solver"] == peer and run["curve"]]
    lowest = min(theirs, key=_lowest)["setting"] if theirs else ""
    for run in sorted(theirs, key=lambda run: run["setting"] == lowest):
        best = run["setting"] == lowest
        curve = [(point["seconds"], point["judge"]["tv_bound"]) for point in run["curve"]]
        style = {"marker": marker, "ms": 3.5, "label": peer} if best else {"alpha": 0.45}
        axis.plot(*zip(*curve, strict=True), color=colour, lw=1.6 if best else 0.7, zorder=2 + best, **style)


def _draw_ours(axis: Any, races: list[Race], colour: Any) -> None:
    """Solves of dpmot: those of older code are pale."""
    newest = of_newest_code(races)
    for race in races:
        points = [(run["seconds"], run["judge"]["tv_bound"]) for run in race["runs"] if run["solver"] == "dpmot"]
        now = race in newest
        style = {"color": colour, "alpha": 1.0 if now else 0.35, "label": "dpmot" if now else None}
        axis.plot(*zip(*points, strict=True), "o:", lw=1.5, ms=6, zorder=4 + now, **style)


def _label(axis: Any, race: Race) -> None:
    """Title, scales and ticks of a panel."""
    from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

    problem = race["problem"]
    title = f"{problem['targets']}, N = {problem['n']:,}, {race['machine']['device']}"
    axis.set(xscale="log", yscale="log", xlabel="seconds", title=title)
    axis.yaxis.set_major_locator(FixedLocator(LEVELS))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def _lowest(run: dict[str, Any]) -> float:
    return min(point["judge"]["tv_bound"] for point in run["curve"])
