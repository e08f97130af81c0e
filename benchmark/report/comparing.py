"""How two arms are compared: paired over seeds, against margins by one rule for all."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmark.report.names import FAMILY, metric, title
from benchmark.report.results import Results
from benchmark.report.seeds import equivalence, holm, mean_interval, no_gain, paired, two_sided

OURS, RANDOM, UNSOLVED, COPY, REAL = "dpmot", "random-latent", "unsolved-map", "copy-target", "held-out"
RELEASED = "dpmot-released"
STUDENTS = tuple(name for name, kind in FAMILY.items() if kind == "distilled")
SHORTENED = "ddim"

LEVEL = 0.05
FEW = 10
LONG = 20
GAIN_MARGIN = 0.2
RATE_MARGIN = 0.01
MUCH_LESS = 0.5
COPY_MARGIN = 0.05

RULES = (
    "Runs are paired over seeds, which share their noise. Tests are Student's t on the paired differences at level "
    f"{LEVEL:g}, adjusted by Holm's method over all deciding comparisons of a claim; the 95% intervals beside them are "
    "of one comparison each, not adjusted, so one may exclude 0 where p does not decide.",
    f"“Within about 10 evaluations” means a budget of at most {FEW}; a long run has at least {LONG}. Evaluations are "
    "counted at the denoiser.",
    f"Two values count as the same when they differ by less than {GAIN_MARGIN:.0%} of what there is to gain: of what "
    "DDIM, the solver whose steps DPM-OT saves, lies above the reference at the same budget as DPM-OT; for rates at "
    f"least {100 * RATE_MARGIN:g} percentage point (what 1,000 samples resolve). Where DDIM is not above the "
    "reference there is none but that of rates. What there is to gain is taken at its mean. This rule came after first "
    "results had been seen, in the place of one whose margins grew with the noise.",
    "Equivalence is tested as such, by two one-sided tests (TOST); “no better” is the one of them that excludes a gain "
    "as large as the margin. C4 is refuted only where one of these holds in every metric and problem, an intersection "
    "of tests that needs no adjustment; C2 where “no better” holds in any comparison, adjusted over both tests of all. "
    "That clause of C2, without which a tie would stay undecided for ever, and the plain samplers' seeds beyond the "
    "fifth at 10 evaluations came after first results had been seen.",
    "W₂ is tested as W₂², whose estimate is unbiased; its root has to be cut off at 0. (At first the root was tested.)",
    f"“Much less” mode mixture means less than {MUCH_LESS:.0%} of the other sampler's rate.",
    "Distances are to independent exact draws where the law of the data is known, else to the training split, as is "
    "usual for FID: there a copied training example costs nothing.",
    "C1 to C3 carry the remark “by copying” with the problems on which DPM-OT's share of copies of training examples "
    f"exceeds that of held-out examples by more than {100 * COPY_MARGIN:g} points (lower 95% limit): copies have the "
    "quality of data whatever a sampler does.",
)
"""The rules of the verdict: the same for every problem and result."""


@dataclass(frozen=True)
class Comparison:
    """One arm against another on one metric of one problem, lower being better.

    Attributes:
        arm, against: labels; budget, against_budget: evaluations granted; nfe, against_nfe: evaluations counted.
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
    arm: str
    against: str
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
        if not metric(self.metric).rate:
            return f"margin {self.margin:.3g}"
        points = f"{100 * self.margin:.3g}"
        return f"margin {points} point{'s' * (points != '1')}"

    def added(self) -> str:
        """What the first adds to what the second gains over DDIM, in percent of that; empty where it gains nothing."""
        if not self.gain > 0:
            return ""
        shares = [-100 * x / self.gain for x in (self.difference, self.high, self.low)]
        digits = 0 if max(map(abs, shares)) >= 1 else 1
        percent = [f"{share:+.{digits}f}%".replace("-", "−") for share in shares]
        return "{} [{}, {}]".format(*percent)

    def values(self) -> str:
        """The two values in words."""
        first, second = (show(self.metric, value) for value in (self.first, self.second))
        where = "" if self.against_nfe == 0 else f" at {self.against_nfe} NFE"
        within = f" [{self.allowed()}]" if self.margin else ""
        return f"{metric(self.metric).label} {first} against {second} for {title(self.against)}{where}{within}"


def show(name: str, value: float) -> str:
    """A value with three digits; rates in percent."""
    return f"{100 * value:.3g}%" if metric(name).rate else f"{value:.3g}"


def few_budget(results: Results, problem: str) -> int | None:
    """The largest budget of at most `FEW` at which DPM-OT was run."""
    return max((n for n in results.budgets(problem, OURS) if n <= FEW), default=None)


def compare(
    results: Results, problem: str, name: str, arm: tuple[str, int], against: tuple[str, int], scale: float = 1.0
) -> Comparison | None:
    """Pair two arms, each given as (label, budget), seed by seed.

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


def margin(c: Comparison) -> float:
    """How far two values may lie apart and still count as the same; see `RULES`."""
    least = RATE_MARGIN if metric(c.metric).rate else 0.0
    return max(least, GAIN_MARGIN * c.gain) if c.gain > 0 else least


def decide(comparisons: Sequence[Comparison], margins: Sequence[float] | None = None) -> list[Comparison]:
    """Two-sided tests of contrast = margin (0 unless given), adjusted over all: `better` is below, `worse` above."""
    margins = margins or [0.0] * len(comparisons)
    ps = holm([two_sided(np.array(c.contrast), m) for c, m in zip(comparisons, margins, strict=True)])
    return [
        replace(c, margin=m, p=p, outcome=_side(c.difference - m) if p < LEVEL else "open")
        for c, m, p in zip(comparisons, margins, ps, strict=True)
    ]


def better_or_not(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """`better` or `worse` by a test of the difference; else `no better` where no gain as large as the margin is left.

    Adjusted over both tests of all comparisons; without a margin there is only the first.
    """
    contrasts, margins = [np.array(c.contrast) for c in comparisons], [margin(c) for c in comparisons]
    tests = [two_sided(x) for x in contrasts]
    tests += [no_gain(x, m) if m else math.nan for x, m in zip(contrasts, margins, strict=True)]
    ps = holm(tests)
    done = []
    for c, m, different, excluded in zip(comparisons, margins, ps, ps[len(comparisons) :], strict=False):
        if different < LEVEL or not m:
            outcome = _side(c.difference) if different < LEVEL else "open"
            done.append(replace(c, p=different, outcome=outcome))
        else:
            outcome = "no better" if excluded < LEVEL else "open"
            done.append(replace(c, test="no gain", p=excluded, margin=m, outcome=outcome))
    return done


def same_or_not(comparisons: Sequence[Comparison], deciding: bool = True) -> list[Comparison]:
    """`same` where TOST shows it; else `better` or `worse` by an adjusted test; else `no better`; else `open`."""
    done = []
    for c in decide(comparisons):
        contrast, within = np.array(c.contrast), margin(c)
        same, no_better = equivalence(contrast, within), no_gain(contrast, within)
        if same < LEVEL:
            c = replace(c, test="equivalence", p=same, margin=within, outcome="same")
        elif c.outcome == "open":
            outcome = "no better" if no_better < LEVEL else "open"
            c = replace(c, test="no gain", p=no_better, margin=within, outcome=outcome)
        done.append(replace(c, deciding=deciding))
    return done


def _side(value: float) -> str:
    return "better" if value < 0 else "worse"
