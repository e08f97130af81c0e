"""Fréchet distance at infinitely many samples (Chong & Forsyth, CVPR 2020, arXiv 1911.07023)."""

import numpy as np
import torch
from torch import Tensor

from benchmark.metrics.base import Estimate, Quantity
from benchmark.metrics.estimation.gaussian import Gaussian
from benchmark.metrics.estimation.intervals import Z
from benchmark.metrics.evidence import Evidence
from benchmark.metrics.frechet import frechet_distance, influence
from benchmark.metrics.registry import metric

SIZES = 10


def fd_infinity(features: Tensor, reference: Gaussian, seed: int = 0, note: str = "") -> Estimate:
    """Estimate FD at 1/S -> 0, by a straight line in 1/S through FD of random subsets.

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


MEANING = "Fréchet distance extrapolated to infinitely many samples"
FID_INFINITY = Quantity(key="fid_infinity", label="FID∞", better="lower", meaning=f"{MEANING}, in the features of FID")


@metric(
    "fd-infinity",
    version="1",
    quantities=[FID_INFINITY, FID_INFINITY.in_features("fd_infinity", "FD∞", MEANING)],
    needs=["moments"],
    least=100,
    ranks=5,
    usual=False,
)
def fd_at_infinity(evidence: Evidence) -> dict[str, Estimate]:
    """Measure `fd_infinity`."""
    return {"fd_infinity": fd_infinity(evidence.features, evidence.moments, evidence.seed, evidence.feature_note)}
