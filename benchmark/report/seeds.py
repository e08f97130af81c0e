"""Intervals and tests over seeds. Runs with the same seed share their noise, so differences are taken seed by seed."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its confidence interval (NaN where one seed gives none)."""

    mean: float
    low: float
    high: float
    count: int

    @property
    def half(self) -> float:
        """Half of the interval's width: what stands after ±."""
        return (self.high - self.low) / 2


def mean_interval(values: Iterable[float], confidence: float = 0.95) -> Interval:
    """Mean with Student's interval over independent seeds."""
    x = np.asarray(list(values), dtype=float)
    x = x[np.isfinite(x)]
    if x.size == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    if x.size == 1:
        return Interval(float(x[0]), math.nan, math.nan, 1)
    half = float(stats.t.ppf(0.5 + confidence / 2, x.size - 1) * x.std(ddof=1) / math.sqrt(x.size))
    return Interval(float(x.mean()), float(x.mean() - half), float(x.mean() + half), x.size)


def paired(first: pd.Series, second: pd.Series, scale: float = 1.0) -> np.ndarray:
    """`first − scale · second` for the seeds that both have; both indexed by seed."""
    seeds = first.index.intersection(second.index)
    return (first.loc[seeds] - scale * second.loc[seeds]).to_numpy(dtype=float)


def _t_tail(differences: np.ndarray, shift: float) -> float:
    """P(T ≥ t) of Student's t for the hypothesis mean ≤ shift. Constant differences count as known exactly."""
    x = np.asarray(differences, dtype=float)
    if x.size < 2:
        return math.nan
    gap, spread = x.mean() - shift, x.std(ddof=1)
    if spread <= 1e-12 * max(np.abs(x).max(), abs(shift), 1e-300):
        return 0.5 if gap == 0 else float(gap < 0)
    return float(stats.t.sf(gap / (spread / math.sqrt(x.size)), x.size - 1))


def two_sided(differences: np.ndarray, shift: float = 0.0) -> float:
    """p of the two-sided paired t-test of mean = shift; NaN for fewer than two seeds."""
    tail = _t_tail(differences, shift)
    return tail if math.isnan(tail) else min(1.0, 2 * min(tail, 1 - tail))


def equivalence(differences: np.ndarray, margin: float) -> float:
    """p of the two one-sided tests (TOST, Schuirmann 1987) that |mean| < margin; NaN for fewer than two seeds."""
    if len(differences) < 2:
        return math.nan
    return max(_t_tail(differences, -margin), 1 - _t_tail(differences, margin))


def no_gain(differences: np.ndarray, margin: float) -> float:
    """p of the one-sided test that the mean is above −margin: no gain as large as the margin (lower is better)."""
    return _t_tail(differences, -margin)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values, in the given order; NaN stays NaN and is not counted."""
    p = np.asarray(ps, dtype=float)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    adjusted = np.full(p.size, math.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * (order.size - np.arange(order.size))))
    return adjusted.tolist()
