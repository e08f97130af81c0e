"""Try every metric on known damage to CIFAR-10, and draw what comes out.

    python -m benchmark.metrics.checks.corruptions [--count 1000] [--extractor cifar10_resnet20] [--out results/metrics]

Real test images are damaged (noise, blur, JPEG), blended in pairs (mode mixture), replaced by training images
(copying), or robbed of classes (mode dropping). Writes corruptions.csv, .md (is each response of the sign that theory
says?), and .png/.pdf.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark import metrics
from benchmark.commands import command_line, run_command
from benchmark.data.arrays import ImageSet, open_images
from benchmark.data.reader import from_array
from benchmark.metrics.checks import corrupting
from benchmark.metrics.evidence import Need
from benchmark.metrics.extractors import make_extractor
from benchmark.metrics.images.judging import ImageEvidence, Judge
from benchmark.metrics.images.reference import Reference
from benchmark.records.cache import cache_folder
from benchmark.workers import choose_device
from dpmot.bench import markdown
from dpmot.progress import progress_bar

METRICS = ("fd", "kd", "pr", "is", "mode_mixture", "novelty", "duplicates")
NEEDS: tuple[Need, ...] = ("moments", "reference features", "posterior", "training set")
LEVELS: dict[str, tuple[float, ...]] = {
    "noise (σ, grey levels)": (0, 8, 16, 32, 64),
    "blur (σ, pixels)": (0, 0.5, 1, 1.5, 2),
    "JPEG (100 − quality)": (0, 20, 50, 80, 95),
    "blends (share)": (0, 0.1, 0.25, 0.5, 1),
    "copies (share)": (0, 0.1, 0.25, 0.5, 1),
    "dropped classes": (0, 2, 4, 6, 8),
}
SHOWN = (
    "fd", "kd", "precision", "recall", "density", "coverage", "is", "mmr@0.2", "copy_share", "nn_ratio", "authenticity",
    "ct", "distinct_neighbours",
)  # fmt: skip
# What theory says of the response: +1 rises, −1 falls; what is not listed may do either.
EXPECTED = {
    **{("fd", c): 1 for c in LEVELS if not c.startswith("copies")},
    **{("kd", c): 1 for c in LEVELS if not c.startswith("copies")},
    **{("precision", c): -1 for c in ("noise (σ, grey levels)",)},
    **{("coverage", c): -1 for c in ("noise (σ, grey levels)", "blur (σ, pixels)", "dropped classes")},
    **{("recall", c): -1 for c in ("dropped classes",)},
    **{("is", c): -1 for c in ("blends (share)", "dropped classes")},
    ("mmr@0.2", "blends (share)"): 1,
    ("copy_share", "copies (share)"): 1,
    ("nn_ratio", "copies (share)"): -1,
    ("authenticity", "copies (share)"): -1,
    ("ct", "copies (share)"): -1,
}


def damaged(
    kind: str, level: float, images: NDArray[np.uint8], labels: NDArray[np.int64], train: NDArray[np.uint8], count: int
) -> NDArray[np.uint8]:
    """`count` of the images [N, H, W, 3] with one kind of damage; the same random numbers at every level."""
    rng, some = np.random.default_rng(0), images[:count]
    match kind.split()[0]:
        case "noise":
            return corrupting.noise(some, level, rng)
        case "blur":
            return corrupting.blur(some, level)
        case "JPEG":
            return corrupting.jpeg(some, 100 - int(level))
        case "blends":
            return corrupting.blend(some, labels[:count], level, rng)
        case "copies":
            return corrupting.copies(some, train, level, rng)
        case _:
            return corrupting.drop_modes(images, labels, int(level), count)


def measure(data: ImageSet, judge: Judge, count: int) -> Iterator[dict[str, object]]:
    """One row per damage, level and value."""
    images, train = np.array(data.images("test")), data.images("train")
    labels = data.labels("test")
    assert labels is not None
    trials = [(kind, level) for kind, levels in LEVELS.items() for level in levels]
    for kind, level in progress_bar(trials, desc="corruptions"):
        damaged_images = from_array(damaged(kind, level, images, labels, train, count), kind)
        for name, e in metrics.measure(METRICS, ImageEvidence(damaged_images, judge, NEEDS)).items():
            value = {"value": e.value, "low": e.low, "high": e.high, "count": e.count, "note": e.note}
            yield {"corruption": kind, "level": level, "metric": name, **value}


def responses(table: pd.DataFrame, extractor: str) -> list[str]:
    """A Markdown table: is the response monotone in the direction that theory says?"""
    rows = []
    for (metric, kind), sign in EXPECTED.items():
        values = _values(table, metric, extractor)
        at = values[values["corruption"] == kind].sort_values("level")
        # Wrong only where a step the wrong way exceeds the noise: the intervals of the two levels do not overlap.
        steps = zip(at.to_dict("records")[:-1], at.to_dict("records")[1:], strict=True)
        wrong = [b["high"] < a["low"] if sign > 0 else b["low"] > a["high"] for a, b in steps]
        ends = sign * (at["value"].iloc[-1] - at["value"].iloc[0]) > 0
        verdict = "yes" if ends and not any(wrong) else "no"
        shown = ", ".join(f"{v:.3g}" for v in at["value"])
        rows.append([metric, kind, "rises" if sign > 0 else "falls", shown, verdict])
    return markdown.table(["metric", "corruption", "theory", "values at rising levels", "as theory says"], rows)


def _values(table: pd.DataFrame, metric: str, extractor: str) -> pd.DataFrame:
    return table[table["metric"].isin([metric, f"{metric}[{extractor}]"]) & ~_in_features(table, metric)]


def _in_features(table: pd.DataFrame, metric: str) -> pd.Series:
    """Rows of novelty measured in features, where the one in pixels is meant."""
    return table["metric"].str.contains("[", regex=False) & (table["metric"].eq(metric) | (metric in SHOWN[8:]))


def draw(table: pd.DataFrame, extractor: str, path: Path) -> None:
    """Small multiples: a row per metric, a column per corruption, 95% intervals as bands."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    sns.set_theme(context="paper", style="ticks", font_scale=0.8)
    figure, axes = plt.subplots(len(SHOWN), len(LEVELS), figsize=(11, 1.15 * len(SHOWN)), sharey="row", sharex="col")
    for row, metric in zip(axes, SHOWN, strict=True):
        values = _values(table, metric, extractor)
        for axis, (kind, levels) in zip(row, LEVELS.items(), strict=True):
            at, steps = values[values["corruption"] == kind].sort_values("level"), range(len(levels))
            colour = sns.color_palette()[0] if (metric, kind) in EXPECTED else "0.6"
            sns.lineplot(x=steps, y=at["value"].to_numpy(), ax=axis, marker="o", markersize=3.5, color=colour)
            axis.fill_between(steps, at["low"], at["high"], color=colour, alpha=0.25, linewidth=0)
            axis.set_xticks(steps, [f"{level:g}" for level in levels])
            axis.set(xlabel=kind, ylabel="")
        row[0].set_ylabel(metric.replace("_", "\n"), rotation=0, ha="right", va="center", labelpad=8)
    figure.align_ylabels(axes[:, 0])
    figure.suptitle(
        f"Metrics against known damage of CIFAR-10 (features and classifier: {extractor}; novelty in pixels).\n"
        "Blue: theory says which way; grey: it does not. Bands: 95% intervals.",
        fontsize=9,
    )
    sns.despine(figure)
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    figure.savefig(path.with_suffix(".png"), dpi=130)
    figure.savefig(path.with_suffix(".pdf"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the table and the figure."""
    parser = command_line("benchmark.metrics.checks.corruptions", main.__doc__)
    parser.add_argument("--count", type=int, default=1000, help="images at each level")
    parser.add_argument("--extractor", default="cifar10_resnet20", help="features, and with its logits the classifier")
    parser.add_argument("--classifier", help="another network for mode mixture and Inception score")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    parser.add_argument("--out", type=Path, default=Path("results/metrics"))
    parser.add_argument("--draw-only", action="store_true", help="draw again from corruptions.csv")
    return run_command(respond, parser.parse_args(arguments))


def respond(a: argparse.Namespace) -> None:
    """Measure the responses to damage unless they are only to be drawn again; write the table and the figure."""
    a.out.mkdir(parents=True, exist_ok=True)
    csv = a.out / "corruptions.csv"
    if not a.draw_only:
        device = choose_device(a.device)
        data, extractor = open_images("cifar10"), make_extractor(a.extractor, device=device)
        classifier = make_extractor(a.classifier, device=device) if a.classifier else extractor
        train, test = (Reference(data, split, extractor, cache_folder(), True) for split in ("train", "test"))
        pd.DataFrame(measure(data, Judge(extractor, train, None, classifier, test), a.count)).to_csv(csv, index=False)
    table = pd.read_csv(csv)
    lines = responses(table, a.extractor)
    (a.out / "corruptions.md").write_text("\n".join(lines) + "\n")
    draw(table, a.extractor, a.out / "corruptions")
    print("\n".join(lines))


if __name__ == "__main__":
    raise SystemExit(main())
