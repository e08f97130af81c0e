r"""A squared transport cost between two laws from samples, without the bias that grows with dimension.

With independent halves A, B of the samples (law P) and C, D of the reference (law Q), n points each,

    V = ½[ W²(A, C) + W²(B, D) ] − ½[ W²(A, B) + W²(C, D) ],

that is: the plain estimate of W²(P, Q) less what the same estimate says of P against itself and of Q against itself
(the centring of Sinkhorn divergences, applied to the plug-in estimate: Chizat et al., NeurIPS 2020, arXiv 2006.08172;
Papp & Sherlock, arXiv 2203.11627). Write b(P, Q) = E W²(P_n, Q_n) − W²(P, Q) >= 0. Then
E V − W²(P, Q) = b(P, Q) − ½ b(P, P) − ½ b(Q, Q), so

* P = Q: E V = 0 exactly, for every n (all four terms have the same law);
* Q a shift of P by δ: E V = |δ|² exactly (W²(A, B + δ) = W²(A, B) + 2δ·(b̄ − ā) + |δ|², and the mean is 0);
* P a point: b(P, ·) = 0 and E V = W² − ½ b(Q, Q): too small. In general E V >= W² − ½[b(P, P) + b(Q, Q)].

V may be negative: at chance when the laws are equal, and systematically when samples are copies of the reference.

Interval: V is a difference of optimal values of linear programs, so its derivative by the weight of a point is a
difference of optimal potentials, which the solver returns with the value. The infinitesimal jackknife sums their
variances over the four groups; jackknife variances err upwards (Efron & Stein, 1981), so the interval, which is for
E V, covers at least its nominal share. In the first-order limit it is the central limit theorem of del Barrio & Loubes
(2019).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics.base import Estimate, MetricError
from benchmark.metrics.estimation.intervals import Z

Array = NDArray[np.float64]
Transport = Callable[[Array, Array], tuple[float, Array, Array]]
"""transport(x [n, d], y [n, d]) -> cost, potentials [n] of x, potentials [n] of y."""


@dataclass(frozen=True)
class SplitReference:
    """Two independent halves of the reference, [n, d] each, and the transport between them."""

    first: Array
    second: Array
    within: tuple[float, Array, Array]

    @classmethod
    def of(cls, points: Array, transport: Transport) -> "SplitReference":
        """Halve reference points [m, d]; an odd last one is left out."""
        n = len(points) // 2
        first, second = points[:n], points[n : 2 * n]
        return cls(first, second, transport(first, second))


def debiased_cost(samples: Array, reference: SplitReference, transport: Transport) -> tuple[float, float]:
    """V and its standard error, for samples [>= 2n, d] against a reference of halves [n, d].

    Raises:
        MetricError: fewer samples than 2n.
    """
    n = len(reference.first)
    if len(samples) < 2 * n:
        raise MetricError(f"{2 * n} samples are needed to match the reference, got {len(samples)}")
    a, b = samples[:n], samples[n : 2 * n]
    ac, of_a, of_c = transport(a, reference.first)
    bd, of_b, of_d = transport(b, reference.second)
    ab, within_a, within_b = transport(a, b)
    cd, within_c, within_d = reference.within
    influences = (of_a - within_a, of_b - within_b, of_c - within_c, of_d - within_d)
    variance = sum(np.var(0.5 * f, ddof=1) / n for f in influences)
    return 0.5 * (ac + bd - ab - cd), float(np.sqrt(variance))


def estimates(name: str, squared: float, error: float, count: int, note: str) -> dict[str, Estimate]:
    """`name`_squared, unbiased and fit for averaging over seeds, and `name`, its root with negatives put to 0."""
    low, high = squared - Z * error, squared + Z * error
    root, least, most = (max(v, 0.0) ** 0.5 for v in (squared, low, high))
    return {
        name: Estimate(root, least, most, count, note),
        f"{name}_squared": Estimate(squared, low, high, count, note),
    }
