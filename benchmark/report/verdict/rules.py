"""The rules of the verdict, and the tests that decide by them; the same for every claim, problem and result."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmark.metrics.registry import quantity
from benchmark.report.comparing import FEW, Comparison
from benchmark.report.seeds import equivalence, holm, no_gain, two_sided

LEVEL = 0.05
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
"""The rules in words."""


def margin(c: Comparison) -> float:
    """How far two values may lie apart and still count as the same; see `RULES`."""
    least = RATE_MARGIN if quantity(c.metric).rate else 0.0
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
