"""Sliced 2-Wasserstein distance: the mean over directions of W2² of projections (Rabin et al., 2011), debiased."""

from functools import cache

import numpy as np

from benchmark.metrics.base import Estimate, declare_distance
from benchmark.metrics.estimation.debiased import Array
from benchmark.metrics.evidence import Evidence
from benchmark.metrics.w2 import debiased_distance, transport_metric

DIRECTIONS = 128
POINTS = 2000


@cache
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


def sliced_transport(x: Array, y: Array) -> tuple[float, Array, Array]:
    """As `sorted_transport`, in the directions that are the same for every run."""
    return sorted_transport(x, y, directions(x.shape[1]))


SLICED_W2 = declare_distance(
    "sliced_w2", "sliced W₂", meaning="Wasserstein-2 distance averaged over random directions", column=13
)


@transport_metric(SLICED_W2, version="1", squared="its square: unbiased, so it may fall below zero")
def sliced_w2(evidence: Evidence) -> dict[str, Estimate]:
    """Measure `sliced_w2` and `sliced_w2_squared` by sorting along many directions."""
    note = f"debiased by halves; {DIRECTIONS} directions"
    return debiased_distance("sliced_w2", evidence, POINTS, sliced_transport, note)
