"""How figures look: type, grid, axes, and files."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from PIL import Image

from benchmark.report.figures.looks import INK, MUTED

COLUMN, WIDE = 3.5, 7.2  # inches: one and two columns of a paper
DPI = 200
MOST_BYTES = 150_000

_RC = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#9aa1ab",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "pdf.compression": 6,
}


def theme() -> None:
    """Set seaborn's theme for every figure of the report."""
    sns.set_theme(context="paper", style="whitegrid", rc=_RC)


def panels(
    columns: int,
    width: float,
    height: float,
    rows: int = 1,
    margins: Sequence[float] = (0.08, 0.02, 0.14, 0.1),
    gap: float = 0.3,
) -> tuple[Figure, np.ndarray]:
    """A figure with axes [rows, columns]; margins left, right, bottom, top as fractions. Sizes in inches."""
    fig, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False)
    left, right, bottom, top = margins
    fig.subplots_adjust(left=left, right=1 - right, bottom=bottom, top=1 - top, wspace=gap, hspace=gap)
    for ax in axes.flat:
        sns.despine(ax=ax)
    return fig, axes


def save(fig: Figure, folder: Path, name: str) -> None:
    """`<name>.pdf` and `<name>.png` (256 colours, at most `MOST_BYTES`); same figure, same bytes."""
    fig.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None, "Producer": None, "Creator": None})
    buffer = io.BytesIO()
    fig.savefig(buffer, format="rgba", dpi=DPI)
    width, height = (round(size * DPI) for size in fig.get_size_inches())
    plt.close(fig)
    picture = Image.frombuffer("RGBA", (int(width), int(height)), buffer.getvalue()).convert("RGB")
    path = folder / f"{name}.png"
    while True:
        flat = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
        flat.save(path, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            return
        picture = picture.resize((int(picture.width * 0.85), int(picture.height * 0.85)), Image.Resampling.LANCZOS)


def percent_axis(ax: Axes, axis: str = "y", least: float = 1e-3) -> None:
    """A rate on a scale that is linear below `least` and logarithmic above, in percent, from zero to what there is."""
    which, limits = (ax.yaxis, ax.dataLim.intervaly) if axis == "y" else (ax.xaxis, ax.dataLim.intervalx)
    getattr(ax, f"set_{axis}scale")("symlog", linthresh=least, linscale=0.5)
    top = 1.35 * max(limits[1], 3 * least)
    which.set_ticks([t for t in (0, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0) if t == 0 or least <= t <= top])
    which.set_minor_locator(NullLocator())
    which.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g}%"))
    getattr(ax, f"set_{axis}lim")(-0.25 * least, top)


def plain_ticks(ax: Axes, ticks: Sequence[float], axis: str = "x") -> None:
    """These ticks alone, written as plain numbers."""
    which = ax.xaxis if axis == "x" else ax.yaxis
    which.set_ticks(list(ticks))
    which.set_minor_locator(NullLocator())
    which.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))


def widen(ax: Axes, axis: str, factor: float) -> None:
    """Let a logarithmic axis span at least `factor`, about its middle; a few close points would fill it otherwise."""
    low, high = ax.get_ylim() if axis == "y" else ax.get_xlim()
    middle, half = np.sqrt(low * high), np.sqrt(factor)
    getattr(ax, f"set_{axis}lim")(min(low, middle / half), max(high, middle * half))


def log_ticks(ax: Axes, axis: str = "y") -> None:
    """Ticks at 1, 2, 5 of each decade on a logarithmic axis of few decades, at 1 on one of many.

    Numbers need more room side by side than one above the other.
    """
    low, high = sorted(ax.get_ylim() if axis == "y" else ax.get_xlim())
    if low <= 0:
        return
    span = np.log10(high / low)
    many = 2.5 if axis == "y" else 1.5
    factors = (1, 2, 5) if 0.8 < span < many else (1,) if span >= many else (1, 1.5, 2, 3, 4, 5, 7)
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]
    if len(ticks) < 2:
        ticks = [t for t in MaxNLocator(4).tick_values(low, high) if low <= t <= high]
    plain_ticks(ax, ticks, axis)


def thinned(ticks: Sequence[float]) -> list[float]:
    """Ticks of a logarithmic axis that lie far enough apart to be read."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or tick >= 1.3 * kept[-1]:
            kept.append(tick)
    return kept


def bare(ax: Axes, reach: float) -> None:
    """Show the square [−reach, reach]² alone, in a frame."""
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_color("#d5d9de")
