"""Exact 2-Wasserstein distance to the reference; `benchmark.metrics.estimation.debiased` says what is estimated."""

import warnings

import numpy as np
from torch import Tensor

from benchmark.metrics.base import Estimate, Quantity
from benchmark.metrics.estimation.debiased import Array, SplitReference, debiased_cost, estimates
from benchmark.metrics.evidence import Evidence
from benchmark.metrics.registry import metric

POINTS = 800  # in two halves of 400, whose three problems take some 0.1 s together; time grows like the cube


def squared_distances(x: Array, y: Array) -> Array:
    """|x_i − y_j|², [n, m], of x [n, d] and y [m, d]; both are centred first, which saves digits."""
    centre = y.mean(0)
    x, y = x - centre, y - centre
    return np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T, 0.0)


def network_simplex(x: Array, y: Array) -> tuple[float, Array, Array]:
    """Exact optimal transport of uniform masses on x [n, d] to y [m, d], cost |x − y|², by POT's network simplex."""
    import ot

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # POT warns where it stops short of the optimum: not a result
        _, log = ot.emd([], [], squared_distances(x, y), numItermax=1_000_000, log=True)
    return float(log["cost"]), log["u"], log["v"]


def as_points(samples: Tensor) -> Array:
    """Samples [S, *shape] as float64 rows [S, d]."""
    return samples.detach().flatten(1).double().cpu().numpy()


@metric(
    "w2",
    version="1",
    quantities=[
        Quantity(
            key="w2",
            label="W₂",
            better="lower",
            meaning="exact Wasserstein-2 distance to the reference examples, debiased",
            column=12,
            quality=True,
            unbiased="w2_squared",
        ),
        Quantity(
            key="w2_squared",
            label="W₂²",
            better="lower",
            meaning="its square: unbiased, so it may fall below zero near the floor",
        ),
    ],
    needs=["points"],
    least=20,
    usual=False,
)
def w2(evidence: Evidence) -> dict[str, Estimate]:
    """Measure `w2` and `w2_squared` of the first samples against as many reference points, at most `POINTS`."""
    whole = evidence.once("w2 reference", lambda: as_points(evidence.reference_points(POINTS)))
    count = min(evidence.count, len(whole)) // 2 * 2
    split = evidence.once(("w2 split", count), lambda: SplitReference.of(whole[:count], network_simplex))
    squared, error = debiased_cost(as_points(evidence.points(count)), split, network_simplex)
    return estimates("w2", squared, error, count, "debiased by halves of samples and reference; exact transport (POT)")
