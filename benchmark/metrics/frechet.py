r"""Fréchet distance between the Gaussians fitted to two sets of features (Heusel et al., NeurIPS 2017).

    FD = |μ − μ_r|² + tr Σ + tr Σ_r − 2 tr (Σ_r^½ Σ Σ_r^½)^½          (Dowson & Landau, 1982)

It is called FID only with the Inception features of FID; else FD (name of the features).

Interval: FD depends on the samples' law through μ and Σ, and its derivative in the direction of one sample is

    ψ(x) = 2⟨μ − μ_r, x − μ⟩ + (x − μ)ᵀ(I − T)(x − μ) − mean,    T = Σ_r^½ (Σ_r^½ Σ Σ_r^½)^−½ Σ_r^½,

T being the optimal map between the centred Gaussians: so ψ is the transport potential. Var ψ / S is the infinitesimal
jackknife's variance of FD (Efron & Stein, 1981: it errs upwards). It costs one product of matrices. The interval is for
the expectation of FD *at this sample count*, which exceeds FD itself by a bias of order 1/S; `bias` estimates it.
"""

import torch
from torch import Tensor

from benchmark.metrics.base import Estimate, MetricError, declare_distance
from benchmark.metrics.estimation.gaussian import Gaussian
from benchmark.metrics.estimation.intervals import Z
from benchmark.metrics.evidence import Evidence
from benchmark.metrics.registry import metric


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Squared 2-Wasserstein distance between two Gaussians; b's root is computed once and kept."""
    spectrum = torch.linalg.eigvalsh(b.root @ a.cov @ b.root).clamp(min=0)
    means = (a.mean - b.mean).square().sum()
    return float(means + a.cov.trace() + b.cov.trace() - 2 * spectrum.sqrt().sum())


def influence(features: Tensor, a: Gaussian, b: Gaussian) -> Tensor:
    """ψ of each of a's features [S, D] (see above), [S], centred: how the distance to b moves with a's weights.

    The difference of two samplers' influences on the same noise gives the interval of their paired difference.
    """
    values, vectors = torch.linalg.eigh(b.root @ a.cov @ b.root)
    kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    half = b.root @ (vectors[:, kept] * values[kept].pow(-0.25))
    x = features.double() - a.mean
    psi = 2 * x @ (a.mean - b.mean) + x.square().sum(1) - (x @ half).square().sum(1)
    return psi - psi.mean()


def bias(features: Tensor, whole: float, b: Gaussian) -> float:
    """Bias of FD at S samples, from that at S/2: with FD_S = FD + c/S + ..., mean FD_{S/2} − FD_S estimates c/S."""
    halves = features[::2], features[1::2]
    return sum(frechet_distance(Gaussian.fit(half), b) for half in halves) / 2 - whole


def frechet_estimate(features: Tensor, b: Gaussian, note: str) -> Estimate:
    """FD of features [S, D] to the reference b, with its interval and a note of its bias."""
    a = Gaussian.fit(features)
    value = frechet_distance(a, b)
    error = float(influence(features, a, b).var() / len(features)) ** 0.5
    excess = f"bias about +{max(bias(features, value, b), 0.0):.3g} at {len(features)} samples"
    if 0 < b.count <= len(b.mean):
        excess += f", and more for a reference of {b.count} examples, fewer than the {len(b.mean)} features"
    return Estimate(value, max(value - Z * error, 0.0), value + Z * error, len(features), f"{note}; {excess}")


def paired_difference(features: Tensor, others: Tensor, reference: Gaussian, note: str = "") -> Estimate:
    """Estimate FD of `features` minus FD of `others`, [S, D] each, row i of both made from the same noise.

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


FID = declare_distance("fid", "FID", meaning="Fréchet distance in the Inception features of FID", column=10)


@metric(
    "fd",
    version="1",
    quantities=[
        FID,
        FID.in_features(
            "fd", "FD", meaning="Fréchet distance to the reference examples, in classifier features", column=11
        ),
    ],
    needs=["moments"],
    least=20,
    ranks=1,
)
def fd(evidence: Evidence) -> dict[str, Estimate]:
    """Measure `fd`: Fréchet distance to the reference."""
    return {"fd": frechet_estimate(evidence.features, evidence.moments, evidence.feature_note)}
