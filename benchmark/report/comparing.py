"""Two arms compared on one metric of one problem, paired over seeds."""

import math
from dataclasses import dataclass

import numpy as np

from benchmark.metrics.registry import quantity
from benchmark.report.arms import OURS, SHORTENED, Arm
from benchmark.report.numbers import short, with_ends
from benchmark.report.results import Results
from benchmark.report.seeds import mean_interval, paired

FEW = 10
"""Network evaluations that count as few."""

MIXTURE = "mmr@0.2"
"""The mode-mixture rate that decides: λ = 0.2 as in the follow-up paper (arXiv 2410.13431)."""

COPIES = "copy_share"
"""The share of samples that are copies of training examples."""

Side = tuple[Arm, int]
"""An arm and the budget of evaluations it was granted."""


@dataclass(frozen=True)
class Comparison:
    """One arm against another on one metric of one problem, lower being better.

    Attributes:
        arm, against: what is compared.
        budget, against_budget: evaluations granted; nfe, against_nfe: evaluations counted.
        first, second: means over the seeds that both have.
        contrast: first − scale · second, seed by seed; low, high: 95% interval of its mean.
        gain: what DDIM at the budget of the first lies above the second; NaN where it was not run, or under other
            conditions.
        test: `difference` (contrast against `margin`, two-sided), `equivalence` (contrast within ± `margin`) or
            `no gain` (contrast above −`margin`).
        p: of that test, adjusted by Holm's method where it is of a difference.
        outcome: `better`, `worse`, `same`, `no better` or `open`, of the first against the second.
        deciding: whether a verdict rests on it; else it stands beside, unadjusted.
    """

    problem: str
    metric: str
    arm: Arm
    against: Arm
    budget: int
    against_budget: int
    nfe: int
    against_nfe: int
    first: float
    second: float
    contrast: tuple[float, ...]
    low: float
    high: float
    gain: float
    scale: float = 1.0
    margin: float = 0.0
    test: str = "difference"
    p: float = math.nan
    outcome: str = "open"
    deciding: bool = True

    @property
    def difference(self) -> float:
        """Mean of the contrast."""
        return float(np.mean(self.contrast))

    @property
    def seeds(self) -> int:
        """Seeds that both arms have."""
        return len(self.contrast)

    @property
    def share(self) -> float:
        """The margin over the value of the second; NaN where there is no margin, or the value is 0."""
        return abs(self.margin / self.second) if self.margin and self.second else math.nan

    def allowed(self) -> str:
        """The margin in words; empty where the test has none."""
        if not self.margin:
            return ""
        if not quantity(self.metric).rate:
            return f"margin {self.margin:.3g}"
        points = f"{100 * self.margin:.3g}"
        return f"margin {points} {'point' if points == '1' else 'points'}"

    def added(self) -> str:
        """What the first adds to what the second gains over DDIM, in percent of that; empty where it gains nothing."""
        if not self.gain > 0:
            return ""
        share, low, high = (-x / self.gain for x in (self.difference, self.high, self.low))
        digits = 0 if max(abs(share), abs(low), abs(high)) >= 0.01 else 1
        return with_ends(share, low, high, form=f"+.{digits}%").replace("-", "−")

    def values(self) -> str:
        """The two values in words."""
        first, second = (short(value, quantity(self.metric).rate) for value in (self.first, self.second))
        where = "" if self.against_nfe == 0 else f" at {self.against_nfe} NFE"
        within = f" [{self.allowed()}]" if self.margin else ""
        return f"{quantity(self.metric).label} {first} against {second} for {self.against.title}{where}{within}"


def few_budget(results: Results, problem: str) -> int | None:
    """The largest budget of at most `FEW` at which DPM-OT was run."""
    return max((n for n in results.budgets(problem, OURS) if n <= FEW), default=None)


def compare(
    results: Results, problem: str, name: str, arm: Side, against: Side, scale: float = 1.0
) -> Comparison | None:
    """Pair two arms, each at a budget, seed by seed.

    None where fewer than two seeds have both, or they were run under different conditions: another fingerprint of the
    problem, other versions of the metrics, or other numbers of samples, on which the bias of a distance depends.
    """
    first, second = (results.by_seed(problem, *side, name) for side in (arm, against))
    contrast = paired(first, second, scale)
    conditions = {text for side in (arm, against) for text in results.at(problem, *side)["conditions"]}
    if contrast.size < 2 or len(conditions) > 1:
        return None
    shared = first.index.intersection(second.index)
    nfe, against_nfe = (int(results.at(problem, *side)["nfe_counted"].max()) for side in (arm, against))
    interval, value = mean_interval(contrast), float(second.loc[shared].mean())
    shortened = results.by_seed(problem, SHORTENED, arm[1], name)
    alike = len(shortened) > 1 and set(results.at(problem, SHORTENED, arm[1])["conditions"]) == conditions
    return Comparison(
        problem=problem,
        metric=name,
        arm=arm[0],
        against=against[0],
        budget=arm[1],
        against_budget=against[1],
        nfe=nfe,
        against_nfe=against_nfe,
        first=float(first.loc[shared].mean()),
        second=value,
        contrast=tuple(contrast.tolist()),
        low=interval.low,
        high=interval.high,
        gain=float(shortened.mean()) - value if alike else math.nan,
        scale=scale,
    )
