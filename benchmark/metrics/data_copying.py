"""C_T, the data-copying score of Meehan, Chaudhuri & Dasgupta, "A Non-Parametric Test to Detect Data-Copying in
Generative Models" (AISTATS 2020, arXiv 2004.05675)."""

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics.base import Estimate
from benchmark.metrics.estimation.intervals import Z

LEAST = 5  # members that a cell needs of either kind to be counted

Array = NDArray[np.float64]


def data_copying(
    sample: Array, test: Array, sample_cells: NDArray[np.int64], test_cells: NDArray[np.int64]
) -> Estimate:
    """Whether samples lie nearer to the training data than held-out data do, cell by cell.

    In each cell the samples' distances to their nearest training example are compared with the test examples' by the
    Mann-Whitney statistic, standardised under equality; the score is its mean over cells, weighted by test share.
    Well below 0: samples copy. Near 0: as far away as new data. Well above 0: samples are far from the data.

    Args:
        sample, test: distances to the nearest training example, [S] and [M].
        sample_cells, test_cells: the cell of each, [S] and [M].

    The 95% interval is DeLong's (1988) for each cell's statistic, cells being independent. Without a cell of `LEAST`
    of either kind the score is NaN.
    """
    scores, variances, weights = [], [], []
    for cell in np.unique(test_cells):
        s, t = np.sort(sample[sample_cells == cell]), np.sort(test[test_cells == cell])
        if min(len(s), len(t)) >= LEAST:
            above_test, below_sample = placements(s, t), 1 - placements(t, s)
            unit = np.sqrt((len(s) + len(t) + 1) / (12 * len(s) * len(t)))  # s.d. of the mean placement if laws agree
            scores.append((above_test.mean() - 0.5) / unit)
            variances.append((above_test.var(ddof=1) / len(s) + below_sample.var(ddof=1) / len(t)) / unit**2)
            weights.append(len(t))
    if not weights:
        return Estimate(float("nan"), count=len(sample), note=f"no cell has {LEAST} samples and {LEAST} test examples")
    share = np.array(weights) / sum(weights)
    value, error = float(share @ scores), float(np.sqrt(share**2 @ variances))
    note = f"{len(weights)} cells with {sum(weights) / len(test):.0%} of the test examples"
    return Estimate(value, value - Z * error, value + Z * error, len(sample), note)


def placements(x: Array, y: Array) -> Array:
    """For each x, the share of sorted y below it, ties counting one half, [len(x)]."""
    return (np.searchsorted(y, x, "left") + np.searchsorted(y, x, "right")) / (2 * len(y))
