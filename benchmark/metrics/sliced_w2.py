"""Sliced 2-Wasserstein distance: the mean over directions of W2² of projections (Rabin et al., 2011), debiased."""

from functools import partial

import numpy as np

from benchmark.metrics.base import Estimate, Quantity
from benchmark.metrics.estimation.debiased import Array, SplitReference, debiased_cost, estimates
from benchmark.metrics.evidence import Evidence
from benchmark.metrics.registry import metric
from benchmark.metrics.w2 import as_points

DIRECTIONS = 128
POINTS = 2000


def directions(dim: int, count: int = DIRECTIONS) -> Array:
    """Directions on the unit sphere, [dim, count]: evenly spread on the plane, else random, the same for every run."""
    if dim == 2:
        angles = np.pi * (np.arange(count) + 0.5) / count
        return np.stack([np.cos(angles), np.sin(angles)])
    normals = np.random.default_rng(0).standard_normal((dim, count))
    return normals / np.linalg.norm(normals, axis=0)


def sorted_transport(x: Array, y: Array, theta: Array) -> tuple[float, Array, Array]:
    """Mean over directions theta [d, L] of W2² between projections of x [n, d] and y [n, d], and mean potentials.

    On the line the optimal plan joins the sorted points, and the potential's slope is 2(x − T(x)).
    """
    px, py = x @ theta, y @ theta
    by_x, by_y = px.argsort(0), py.argsort(0)
    px, py = np.take_along_axis(px, by_x, 0), np.take_along_axis(py, by_y, 0)
    gap = px - py
    potential_x, potential_y = np.empty_like(px), np.empty_like(py)
    np.put_along_axis(potential_x, by_x, _integrate(gap, px), 0)
    np.put_along_axis(potential_y, by_y, _integrate(-gap, py), 0)
    return float((gap**2).mean()), potential_x.mean(1), potential_y.mean(1)


def _integrate(gap: Array, at: Array) -> Array:
    """∫ 2·gap along sorted points `at`, [n, L], by the trapezoidal rule; centred, for a potential has no fixed zero."""
    steps = (gap[1:] + gap[:-1]) * np.diff(at, axis=0)
    potential = np.concatenate([np.zeros((1, at.shape[1])), steps.cumsum(0)])
    return potential - potential.mean(0)


@metric(
    "sliced_w2",
    version="1",
    quantities=[
        Quantity(
            key="sliced_w2",
            label="sliced W₂",
            better="lower",
            meaning="Wasserstein-2 distance averaged over random directions",
            column=13,
            quality=True,
            unbiased="sliced_w2_squared",
        ),
        Quantity(
            key="sliced_w2_squared",
            label="sliced W₂²",
            better="lower",
            meaning="its square: unbiased, so it may fall below zero",
        ),
    ],
    needs=["points"],
    least=20,
    usual=False,
)
def sliced_w2(evidence: Evidence) -> dict[str, Estimate]:
    """Measure `sliced_w2` and `sliced_w2_squared` of the samples against as many reference points."""
    whole = evidence.once("sliced_w2 reference", lambda: as_points(evidence.reference_points(POINTS)))
    count = min(evidence.count, len(whole)) // 2 * 2
    transport = partial(sorted_transport, theta=directions(whole.shape[1]))
    split = evidence.once(("sliced_w2 split", count), lambda: SplitReference.of(whole[:count], transport))
    squared, error = debiased_cost(as_points(evidence.points(count)), split, transport)
    return estimates("sliced_w2", squared, error, count, f"debiased by halves; {DIRECTIONS} directions")
