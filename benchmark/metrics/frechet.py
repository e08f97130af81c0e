r"""Fréchet distance between the Gaussians fitted to two sets of features (Heusel et al., NeurIPS 2017).

    FD = |μ − μ_r|² + tr Σ + tr Σ_r − 2 tr (Σ_r^½ Σ Σ_r^½)^½          (Dowson & Landau, 1982)

It is called FID only with the Inception features of FID; else FD (name of the features).

Interval: FD depends on the samples' law through μ and Σ, and its derivative in the direction of one sample is

    ψ(x) = 2⟨μ − μ_r, x − μ⟩ + (x − μ)ᵀ(I − T)(x − μ) − mean,    T = Σ_r^½ (Σ_r^½ Σ Σ_r^½)^−½ Σ_r^½,

T being the optimal map between the centred Gaussians: so ψ is the transport potential. Var ψ / S is the infinitesimal
jackknife's variance of FD (Efron & Stein, 1981: it errs upwards). It costs one product of matrices. The interval is for
the expectation of FD *at this sample count*, which exceeds FD itself by a bias of order 1/S; `bias` estimates it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from benchmark.metrics.base import Estimate, MetricError, Quantity, metric, once
from benchmark.metrics.estimation.intervals import Z
from benchmark.problems.base import Problem

REFERENCE = 20_000  # most reference examples taken where a problem can draw as many as asked for


@dataclass(frozen=True)
class Gaussian:
    """Moments of a feature distribution in float64.

    Attributes:
        mean: [D].
        cov: [D, D], with divisor count − 1.
        count: examples it was made from.
    """

    mean: Tensor
    cov: Tensor
    count: int

    @classmethod
    def fit(cls, features: Tensor) -> "Gaussian":
        """Of features [S, D], S >= 2."""
        if len(features) < 2:
            raise MetricError(f"a covariance needs at least 2 examples, got {len(features)}")
        x = features.double()
        return cls(x.mean(0), torch.cov(x.T).reshape(x.shape[1], x.shape[1]), len(x))

    @cached_property
    def root(self) -> Tensor:
        """Symmetric square root of the covariance, [D, D]."""
        values, vectors = torch.linalg.eigh(self.cov)
        return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


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
    return Estimate(value, max(value - Z * error, 0.0), value + Z * error, len(features), f"{note}; {excess}")


@metric(
    "fd",
    version="1",
    quantities=[
        Quantity(
            key="fid",
            label="FID",
            better="lower",
            meaning="Fréchet distance in the Inception features of FID",
            column=10,
            quality=True,
        ),
        Quantity(
            key="fd",
            label="FD",
            better="lower",
            meaning="Fréchet distance to the reference examples, in classifier features",
            column=11,
            quality=True,
        ),
    ],
    needs=["reference", "features"],
    least=20,
)
def fd(samples: Tensor, problem: Problem, seed: int) -> dict[str, Estimate]:
    """`fd`: Fréchet distance to the reference in the problem's own features."""

    def features(x: Tensor) -> Tensor:
        found = problem.features(x)
        if found is None:
            raise MetricError("metric 'fd' needs features, and this problem has none")
        return found

    b: Any = once(problem, "fd", lambda: Gaussian.fit(features(problem.examples("reference", REFERENCE))))
    with torch.no_grad():
        return {"fd": frechet_estimate(features(samples), b, f"features: {problem.feature_name}")}
