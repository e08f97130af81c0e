"""What arms and metrics are called, which way is better, and how each is drawn."""

import re
from dataclasses import dataclass
from functools import cache

import seaborn as sns

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


FAMILIES = {
    "plain": "plain samplers",
    "distilled": "distilled students",
    "other": "samplers not known here",
    "ot": "optimal transport",
    "control": "controls",
    "real": "held-out examples",
}
_PLAIN = (
    "ddpm", "ddim", "s-pndm", "f-pndm", "plms", "unipc", "deis", "heun", "langevin",
    "dpm-solver-1", "dpm-solver-2s", "dpm-solver-3s", "dpm-solver-fast", "dpm-solver-2m", "dpm-solver-3m",
    "dpm-solver++-2s", "dpm-solver++-2m", "dpm-solver++-3m",
)  # fmt: skip
FAMILY = {
    **dict.fromkeys(_PLAIN, "plain"),
    "progressive-distillation": "distilled",
    "consistency-distillation": "distilled",
    "dpmot": "ot",
    "dpmot-released": "ot",
    "random-latent": "control",
    "unsolved-map": "control",
    "copy-target": "control",
    "held-out": "real",
}
NOT_FAST = {"ddpm", "langevin"}
"""Plain samplers that were never meant to be fast: references, not rivals."""

_TITLES = {
    "ddpm": "DDPM",
    "ddim": "DDIM",
    "pndm": "PNDM",
    "s-pndm": "S-PNDM",
    "f-pndm": "F-PNDM",
    "plms": "PLMS",
    "unipc": "UniPC",
    "deis": "DEIS",
    "heun": "Heun",
    "langevin": "Langevin",
    "progressive-distillation": "progressive distillation",
    "consistency-distillation": "consistency distillation",
    "dpmot": "DPM-OT",
    "dpmot-released": "DPM-OT released",
    "random-latent": "random latent",
    "unsolved-map": "unsolved map",
    "copy-target": "copy of a target",
    "held-out": "held-out data",
}


def family(label: str) -> str:
    """The key in `FAMILIES` of an arm, from its label. What is not known here is shown, but decides no claim."""
    return FAMILY.get(label.partition(" ")[0], "other")


def title(label: str) -> str:
    """The printed name of an arm, from its label (sampler plus options)."""
    name, _, options = label.partition(" ")
    known = _TITLES.get(name) or re.sub(r"^dpm-solver", "DPM-Solver", name).replace("-2m", " 2M").replace("-3m", " 3M")
    return f"{known} {options}".strip()


def rank(label: str) -> tuple[int, int, str]:
    """Sort key of arms: families in order, then the order in which the suite presents them."""
    name = label.partition(" ")[0]
    known = list(_TITLES)
    return list(FAMILIES).index(family(label)), known.index(name) if name in known else len(known), label


@dataclass(frozen=True)
class Look:
    """How an arm is drawn: the same in every figure."""

    colour: str
    marker: str
    dashes: tuple[float, ...]  # () is a solid line

    @property
    def line(self) -> tuple[float, tuple[float, ...]] | str:
        """Matplotlib's line style."""
        return (0, self.dashes) if self.dashes else "-"

    @property
    def size(self) -> float:
        """Of the marker, in points: thin shapes larger, so that all weigh the same."""
        return {"*": 7.5, "P": 6.0, "X": 6.0, "D": 4.6}.get(self.marker, 5.2)


INK, MUTED, FLOOR = "#1b1f24", "#6b7280", "#4b5563"
OT, CONTROL = "#d1495b", "#00806a"
_FIXED = {
    "progressive-distillation": Look("#6f4bb2", "D", ()),
    "consistency-distillation": Look("#a983d8", "h", (5, 1.2)),
    "dpmot": Look(OT, "o", ()),
    "dpmot-released": Look("#e8963e", "X", (4, 1.5)),
    "random-latent": Look(CONTROL, "s", (3, 2)),
    "unsolved-map": Look("#56b391", "v", (1.2, 1.2)),
    "copy-target": Look("#9a8c4f", "P", (1.2, 1.2)),
    "held-out": Look(FLOOR, "d", (6, 2)),
}
_MARKERS = "o^sDvP*Xp<>h"


@cache
def looks(labels: tuple[str, ...]) -> dict[str, Look]:
    """The look of each arm: plain ones in blues, light to dark, students violet, OT red, controls green, floor grey.

    Families differ in hue and in lightness, members of one in marker and dashes, so colour alone never decides. Those
    not known here are brown.
    """
    drawn = {label: _FIXED[name] for label in labels if (name := label.partition(" ")[0]) in _FIXED}
    for kind, shades in (("plain", "blend:#6aaed6,#12306b"), ("other", "blend:#b98a63,#4a2c17")):
        members = [label for label in sorted(labels, key=rank) if family(label) == kind]
        colours = sns.color_palette(shades, max(len(members), 2)).as_hex()
        for i, label in enumerate(members):
            drawn[label] = Look(colours[i], _MARKERS[i % len(_MARKERS)], () if i % 2 == 0 else (5, 1.2))
    return drawn
