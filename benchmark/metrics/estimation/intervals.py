"""95% intervals that more than one metric uses."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta, binom, norm

from benchmark.metrics.base import Estimate

LEVEL = 0.95
Z = float(norm.ppf(0.5 + LEVEL / 2))


def clopper_pearson(successes: ArrayLike, count: int, level: float = LEVEL) -> tuple[NDArray[Any], NDArray[Any]]:
    """Exact interval of a binomial proportion: covers at least `level` whatever the truth (Clopper & Pearson, 1934)."""
    k, tail = np.asarray(successes, float), (1 - level) / 2
    low = np.where(k > 0, beta.ppf(tail, np.maximum(k, 1), count - k + 1), 0.0)
    high = np.where(k < count, beta.isf(tail, k + 1, np.maximum(count - k, 1)), 1.0)
    return low, high


def share(hits: ArrayLike, note: str = "") -> Estimate:
    """Share of true entries [S], with its exact interval."""
    flags = np.asarray(hits, bool)
    low, high = clopper_pearson(flags.sum(), flags.size)
    return Estimate(float(flags.mean()), float(low), float(high), flags.size, note)


def median(values: ArrayLike, note: str = "") -> Estimate:
    """Median of values [S]; the interval is made of order statistics and covers at least 95% for any distribution."""
    x = np.sort(np.asarray(values, float))
    rank = int(binom.ppf((1 - LEVEL) / 2, x.size, 0.5))  # P(fewer than `rank` values below the median) <= 2.5%
    low, high = (float(x[rank - 1]), float(x[x.size - rank])) if rank > 0 else (None, None)
    return Estimate(float(np.median(x)), low, high, x.size, note)
