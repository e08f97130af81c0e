"""The rules of the verdict: from differences over repetitions to one word.

Every metric is read so that lower is better. A repetition draws targets, transport, noise and reference anew, and its
arms share what they have in common, so differences are paired by repetition and are independent between repetitions.

A comparison asks one question and carries two p-values, of the data if the answer were no and if it were yes; both are
Student's one-sided t. A claim that speaks of every rival is supported if each comparison supports it (an intersection
of tests, which needs no adjustment: Berger 1982) and refuted if any refutes it after Holm's adjustment over all of
them. What is neither is not decided, and says how many repetitions would decide it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from benchmark.report.seeds import holm

LEVEL, POWER = 0.05, 0.9
SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "not decided"
SAME, BETTER, WORSE = "same", "better", "worse"
NOTHING = "nothing to gain"
COPYING = "by copying"
MOST = 10_000
"""Repetitions beyond which none are asked for: the difference is then as good as none."""


@dataclass(frozen=True)
class Effect:
    """A mean over repetitions with its 95% interval.

    Attributes:
        values: one number a repetition.
    """

    values: NDArray[np.float64]

    @classmethod
    def of(cls, values: ArrayLike) -> "Effect":
        """From numbers; those that are not finite are an error, as a mean without them would hide them.

        Raises:
            ValueError: fewer than two, or not finite.
        """
        x = np.asarray(values, dtype=float)
        if x.ndim != 1 or x.size < 2 or not np.isfinite(x).all():
            raise ValueError(f"an effect takes finite numbers of at least two repetitions, got {x.tolist()}")
        return cls(x)

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def error(self) -> float:
        """Standard error of the mean; never quite 0, so that equal values do not divide by it."""
        spread = float(self.values.std(ddof=1)) / math.sqrt(self.values.size)
        return max(spread, 1e-12 * max(1e-300, float(np.abs(self.values).max())))

    @property
    def interval(self) -> tuple[float, float]:
        """Student's two-sided 95% interval."""
        half = float(stats.t.ppf(0.975, self.values.size - 1)) * self.error
        return self.mean - half, self.mean + half

    def p_below(self, threshold: float) -> float:
        """p of the hypothesis that the mean is at or above ``threshold``, against below it."""
        return float(stats.t.cdf((self.mean - threshold) / self.error, self.values.size - 1))

    def p_above(self, threshold: float) -> float:
        """p of the hypothesis that the mean is at or below ``threshold``, against above it."""
        return float(stats.t.sf((self.mean - threshold) / self.error, self.values.size - 1))

    def needed(self, threshold: float) -> int:
        """Repetitions with which a mean like this one is told apart from ``threshold``, with a power of 90%."""
        gap = abs(self.mean - threshold)
        if gap == 0:
            return MOST
        spread = self.error * math.sqrt(self.values.size)
        count = ((stats.norm.ppf(1 - LEVEL) + stats.norm.ppf(POWER)) * spread / gap) ** 2
        return min(MOST, max(2, math.ceil(count) + 2))


@dataclass(frozen=True)
class Answer:
    """What a comparison says to a claim.

    Attributes:
        effect: the contrast that was tested.
        p_yes: p against the hypothesis that the claim does not hold here; p_no: against the one that it does.
        needed: repetitions that would decide it, if it stays as it is.
    """

    effect: Effect
    p_yes: float
    p_no: float
    needed: int


def not_worse(difference: ArrayLike, margin: float) -> Answer:
    """Is the first worse than the second by less than the margin? (Non-inferiority.)"""
    effect = Effect.of(difference)
    return Answer(effect, effect.p_below(margin), effect.p_above(margin), effect.needed(margin))


def gains(difference: ArrayLike, margin: float) -> Answer:
    """Is the first better than the second? No, if a gain as large as the margin is excluded.

    For rivals that :func:`to_gain` counts: a perfect sampler gains at least the margin on each of them.
    """
    effect = Effect.of(difference)
    nearest = 0.0 if abs(effect.mean) < abs(effect.mean + margin) else -margin
    return Answer(effect, effect.p_below(0.0), effect.p_above(-margin), effect.needed(nearest))


def far_below(ours: ArrayLike, theirs: ArrayLike, floor: ArrayLike, share: float = 0.5) -> Answer:
    """Is what lies above the floor less than ``share`` of what the rival has above it?

    The floor is that of held-out examples: a perfect sampler has it too, and must not fail for it.
    """
    first, second, least = (np.asarray(x, dtype=float) for x in (ours, theirs, floor))
    effect = Effect.of((first - least) - share * (second - least))
    return Answer(effect, effect.p_below(0.0), effect.p_above(0.0), effect.needed(0.0))


def to_gain(rival: ArrayLike, held_out: ArrayLike, margin: float) -> str:
    """Whether a rival leaves something to gain over it: ``counted``, ``nothing to gain`` or ``not decided``.

    It does if it lies above held-out examples by more than the margin beyond doubt, and does not if by less.
    """
    excess = Effect.of(np.asarray(rival, dtype=float) - np.asarray(held_out, dtype=float))
    if excess.p_above(margin) <= LEVEL / 2:
        return "counted"
    return NOTHING if excess.p_below(margin) <= LEVEL else UNDECIDED


def compared(difference: ArrayLike, margin: float) -> str:
    """Word for the first beside the second: ``same`` (within the margin), ``better``, ``worse`` or ``not decided``."""
    effect = Effect.of(difference)
    if max(effect.p_below(margin), effect.p_above(-margin)) <= LEVEL:  # TOST (Schuirmann 1987)
        return SAME
    if 2 * min(effect.p_below(0.0), effect.p_above(0.0)) <= LEVEL:
        return BETTER if effect.mean < 0 else WORSE
    return UNDECIDED


def resolved(difference: ArrayLike, margin: float) -> int:
    """Repetitions with which two equal arms would be called the same with a power of 90%, from their spread."""
    effect = Effect.of(difference)
    if margin <= 0:
        return MOST
    spread = effect.error * math.sqrt(effect.values.size)
    count = ((stats.norm.ppf(1 - LEVEL) + stats.norm.ppf(0.5 + POWER / 2)) * spread / margin) ** 2
    return min(MOST, max(2, math.ceil(count) + 2))


def judge(answers: Sequence[Answer], pending: int = 0) -> tuple[str, int | None]:
    """The word on a claim about every rival, and the repetitions that it needs where it is not decided.

    Args:
        answers: of the rivals that count.
        pending: rivals of which it is not decided whether they count: they cannot refute, and keep from supporting.
    """
    if not answers and not pending:
        return NOTHING, None
    if any(p <= LEVEL for p in holm([answer.p_no for answer in answers])):
        return REFUTED, None
    if answers and not pending and all(answer.p_yes <= LEVEL for answer in answers):
        return SUPPORTED, None
    open_ones = [answer.needed for answer in answers if answer.p_yes > LEVEL]
    return UNDECIDED, max(open_ones, default=None)


def as_generator(word: str, copies: ArrayLike, held_out: ArrayLike, margin: float) -> str:
    """The word read with novelty: it stands only if copies are not above those of held-out examples by the margin."""
    excess = Effect.of(np.asarray(copies, dtype=float) - np.asarray(held_out, dtype=float))
    if excess.p_above(margin) <= LEVEL:
        return COPYING
    return word if excess.p_below(margin) <= LEVEL else UNDECIDED


def floor_margin(held_out: ArrayLike, copied: ArrayLike, rate: bool = False) -> float:
    """Margin of "as good as": what lies between two perfect samplers that differ in novelty alone.

    Args:
        held_out, copied: the metric of held-out examples and of copies of training examples, at the same number of
            samples, on repetitions that decide nothing else.
        rate: whether the metric is a rate, whose margin is one percentage point at least.
    """
    found = abs(float(np.mean(np.asarray(held_out))) - float(np.mean(np.asarray(copied))))
    return max(found, 0.01) if rate else found
