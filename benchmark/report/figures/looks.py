"""Colours, markers and dashes of arms, the same in every figure and on the page."""

from dataclasses import dataclass
from functools import cache

import seaborn as sns

from benchmark.report.arms import FAMILIES, Arm
from samplers.base import Family

INK, MUTED, FLOOR = "#1b1f24", "#6b7280", "#4b5563"
OT, CONTROL = "#d1495b", "#00806a"


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
"""Samplers whose look stays whatever is drawn beside them."""

_SHADES: dict[Family, str] = {
    "plain": "blend:#6aaed6,#12306b",
    "distilled": "blend:#c3a6e6,#4a2c8a",
    "other": "blend:#b98a63,#4a2c17",
    "ot": "blend:#f0a3ad,#8f1d2f",
    "control": "blend:#7fcbb2,#00503f",
    "real": "blend:#9ca3af,#374151",
}
"""Family -> light to dark."""
_MARKERS = "o^sDvP*Xp<>h"


@cache
def looks(arms: frozenset[Arm]) -> dict[Arm, Look]:
    """The look of each arm: plain ones in blues, light to dark, students violet, OT red, controls green, floor grey.

    Families differ in hue and in lightness, members of one in marker and dashes, so colour alone never decides. Those
    of no known family are brown.
    """
    drawn = {arm: _FIXED[arm.sampler] for arm in arms if arm.sampler in _FIXED}
    for family in FAMILIES:
        members = sorted((arm for arm in arms - drawn.keys() if arm.family == family), key=lambda arm: arm.rank)
        colours = sns.color_palette(_SHADES[family], max(len(members), 2)).as_hex()
        for i, arm in enumerate(members):
            drawn[arm] = Look(colours[i], _MARKERS[i % len(_MARKERS)], () if i % 2 == 0 else (5, 1.2))
    return drawn
