"""Mean and covariance of features: the Gaussian fitted to them."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from benchmark.metrics.base import MetricError


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
