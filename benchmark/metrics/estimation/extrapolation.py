"""Fréchet distances at infinitely many samples, and paired comparison of two samplers."""

import numpy as np
import torch
from torch import Tensor

from benchmark.metrics.base import Estimate, MetricError
from benchmark.metrics.estimation.intervals import Z
from benchmark.metrics.frechet import Gaussian, frechet_distance, influence

SIZES = 10


def fd_infinity(features: Tensor, reference: Gaussian, seed: int = 0, note: str = "") -> Estimate:
    """FD at 1/S -> 0, by a straight line in 1/S through FD of random subsets (Chong & Forsyth, CVPR 2020, 1911.07023).

    The interval joins the jackknife's error of FD with the line's error of its intercept.
    """
    sizes = np.linspace(max(len(features) // 5, 2), len(features), SIZES).astype(int)
    generator = torch.Generator().manual_seed(seed)
    subsets = [torch.randperm(len(features), generator=generator)[:size] for size in sizes]
    values = [frechet_distance(Gaussian.fit(features[s.to(features.device)]), reference) for s in subsets]
    (_, intercept), cov = np.polyfit(1 / sizes, values, 1, cov=True)
    psi = influence(features, Gaussian.fit(features), reference)
    error = float(np.sqrt(cov[1, 1] + float(psi.var()) / len(features)))
    note = f"{note}; extrapolated from {sizes[0]} to {sizes[-1]} samples"
    return Estimate(float(intercept), float(intercept) - Z * error, float(intercept) + Z * error, len(features), note)


def paired_difference(features: Tensor, others: Tensor, reference: Gaussian, note: str = "") -> Estimate:
    """FD of `features` minus FD of `others`, [S, D] each, row i of both made from the same noise.

    The interval is the infinitesimal jackknife's for pairs: what the two have in common by their noise cancels.

    Raises:
        MetricError: the numbers of samples differ.
    """
    if len(features) != len(others):
        raise MetricError(f"a paired comparison needs equally many samples, got {len(features)} and {len(others)}")
    a, b = Gaussian.fit(features), Gaussian.fit(others)
    value = frechet_distance(a, reference) - frechet_distance(b, reference)
    psi = influence(features, a, reference) - influence(others, b, reference)
    error = float(psi.var() / len(psi)) ** 0.5
    return Estimate(value, value - Z * error, value + Z * error, len(psi), f"{note}; paired by noise")
