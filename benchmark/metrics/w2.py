"""Exact 2-Wasserstein distance to the reference; `benchmark.metrics.estimation.debiased` says what is estimated."""

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from torch import Tensor

from benchmark.metrics.base import Estimate, Quantity, declare_distance
from benchmark.metrics.estimation.debiased import Array, SplitReference, Transport, debiased_cost, estimates
from benchmark.metrics.evidence import Evidence
from benchmark.metrics.registry import Measure, Metric, metric

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


def debiased_distance(key: str, evidence: Evidence, most: int, transport: Transport, note: str) -> dict[str, Estimate]:
    """Measure `key` and its square of the first samples against as many reference points, at most `most`."""
    whole = evidence.once(f"{key} reference", lambda: as_points(evidence.reference_points(most)))
    count = min(evidence.count, len(whole)) // 2 * 2
    split = evidence.once((f"{key} split", count), lambda: SplitReference.of(whole[:count], transport))
    squared, error = debiased_cost(as_points(evidence.points(count)), split, transport)
    return estimates(key, squared, error, count, note)


def transport_metric(distance: Quantity, version: str, squared: str) -> Callable[[Measure], Metric]:
    """Declare a metric of points that gives a distance and its square.

    The square is unbiased, so tests use it in the distance's place; `squared` is its meaning.
    """
    square = Quantity(
        key=f"{distance.key}_squared",
        label=f"{distance.label}²",
        better=distance.better,
        meaning=squared,
    )
    return metric(
        distance.key,
        version=version,
        quantities=[replace(distance, unbiased=square.key), square],
        needs=["points"],
        least=20,
        usual=False,
    )


W2 = declare_distance("w2", "W₂", meaning="exact Wasserstein-2 distance to the reference examples, debiased", column=12)


@transport_metric(W2, version="1", squared="its square: unbiased, so it may fall below zero near the floor")
def w2(evidence: Evidence) -> dict[str, Estimate]:
    """Measure `w2` and `w2_squared` by exact transport between few points."""
    note = "debiased by halves of samples and reference; exact transport (POT)"
    return debiased_distance("w2", evidence, POINTS, network_simplex, note)
