"""What metrics are called, and which way is better."""

import re
from dataclasses import dataclass

QUALITY = ("fid", "fd", "w2", "sliced_w2")
"""Metrics of quality; the first that a problem has is the one shown. Lower is better."""

UNBIASED = {"w2": "w2_squared", "sliced_w2": "sliced_w2_squared"}
"""What is tested in the place of a metric of quality: the root of an estimate is cut off at 0, its square is not."""

MIXTURE = "mmr@0.2"
"""The mode-mixture rate that decides: λ = 0.2 as in the follow-up paper (arXiv 2410.13431)."""

COPIES = "copy_share"


@dataclass(frozen=True)
class Metric:
    """A measured value.

    Attributes:
        label: for tables and the page.
        better: −1 lower, +1 higher; 0: neither, to be read beside the same value of held-out examples.
        rate: a share of the samples, in [0, 1]; drawn in percent.
        meaning: one line for the page.
    """

    label: str
    better: int = 0
    rate: bool = False
    meaning: str = ""


METRICS: dict[str, Metric] = {
    "fid": Metric("FID", -1, meaning="Fréchet distance in the Inception features of FID"),
    "fd": Metric("FD", -1, meaning="Fréchet distance to the reference examples, in classifier features"),
    "w2": Metric("W₂", -1, meaning="exact Wasserstein-2 distance to the reference examples, debiased"),
    "sliced_w2": Metric("sliced W₂", -1, meaning="Wasserstein-2 distance averaged over random directions"),
    "w2_squared": Metric("W₂²", -1, meaning="its square: unbiased, so it may fall below zero near the floor"),
    "sliced_w2_squared": Metric("sliced W₂²", -1, meaning="its square: unbiased, so it may fall below zero"),
    "modes_covered": Metric("modes covered", +1, True, "share of modes with at least a tenth of their true weight"),
    "mode_weights_tv": Metric("mode weights TV", -1, True, "total variation between the weights of modes and the true"),
    COPIES: Metric(
        "copies", 0, True, "share of samples nearer to a training example than 99% of held-out examples are"
    ),
    "nn_ratio": Metric("NN ratio", 0, meaning="median of nearest over second-nearest distance to training examples"),
    "authenticity": Metric(
        "authenticity", 0, True, "share of samples farther from their nearest training example than its own neighbour"
    ),
    "ct": Metric("C_T", 0, meaning="data-copying two-sample score; well below that of held-out examples means copying"),
    "distinct_neighbours": Metric("distinct", 0, True, "distinct nearest training examples over samples"),
}

MAIN = (*QUALITY, MIXTURE, "modes_covered", "mode_weights_tv", COPIES, "nn_ratio", "distinct_neighbours")
"""Columns of the tables; the page holds every value."""

_MMR = re.compile(r"mmr@(\d*\.?\d+)")


def mixture_level(name: str) -> float | None:
    """λ of a mode-mixture rate `mmr@λ`, else None."""
    match = _MMR.fullmatch(name)
    return float(match[1]) if match else None


def metric(name: str) -> Metric:
    """The description of a metric; one that is not known here keeps its own name and no direction."""
    level = mixture_level(name)
    if level is not None:
        meaning = f"share of samples for which at least two classes have probability {level:g} or more"
        return Metric(f"mixture (λ = {level:g})", -1, True, meaning)
    return METRICS.get(name, Metric(name))
