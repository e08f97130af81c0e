"""Precision and recall (Kynkäänniemi et al., NeurIPS 2019, arXiv 1904.06991), density and coverage (Naeem et al., ICML
2020, arXiv 2002.09797): whether samples lie within balls around reference features, and the reverse."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.metrics.base import Estimate, Quantity
from benchmark.metrics.estimation.intervals import Z, share
from benchmark.metrics.estimation.neighbours import nearest
from benchmark.metrics.evidence import Evidence
from benchmark.metrics.registry import metric

NEIGHBOUR_PR, NEIGHBOUR_DC = 3, 5  # as in the papers
BLOCK = 1 << 25  # distances held at once (256 MiB)


@dataclass(frozen=True)
class Balls:
    """Features [S, D] and the distances to their 3rd and 5th nearest fellows, [S] each, float64."""

    features: Tensor
    third: Tensor
    fifth: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Balls":
        """Of at least 6 features [S, D]."""
        radii = nearest(features, features, NEIGHBOUR_DC + 1)[0]  # the first is the feature itself, at 0
        return cls(features, radii[:, NEIGHBOUR_PR], radii[:, NEIGHBOUR_DC])


def precision_recall_density_coverage(sample: Balls, reference: Balls, note: str = "") -> dict[str, Estimate]:
    """The four measures; "within" includes the border.

    * `precision`: share of samples within the 3rd-neighbour ball of some reference feature;
    * `recall`: share of reference features within the 3rd-neighbour ball of some sample;
    * `density`: mean number of 5th-neighbour reference balls that a sample lies in, over 5; about 1 for equal laws;
    * `coverage`: share of reference features whose 5th-neighbour ball holds a sample.

    Intervals take the other side's balls as given: exact binomial ones for shares, a normal one for density. All four
    depend on both counts, which are therefore stated.
    """
    x, y = sample.features.double(), reference.features.double()
    x, y = x - y.mean(0), y - y.mean(0)  # in float64, for a ball may be tiny beside the norms
    y_norms = y.square().sum(1)
    precise, balls = [], []
    recalled, covered = torch.zeros(2, len(y), dtype=torch.bool, device=y.device)
    step = max(1, BLOCK // len(y))
    for part, radius in zip(x.split(step), sample.third.split(step), strict=True):
        squares = torch.addmm(y_norms, part, y.T, alpha=-2).add_(part.square().sum(1, keepdim=True))
        distances = squares.clamp_(min=0).sqrt_()
        precise.append((distances <= reference.third).any(1))
        within = distances <= reference.fifth
        balls.append(within.sum(1))
        covered |= within.any(0)
        recalled |= (distances <= radius[:, None]).any(0)
    per_sample = torch.cat(balls).double().cpu().numpy() / NEIGHBOUR_DC
    density, error = float(per_sample.mean()), float(per_sample.std(ddof=1) / np.sqrt(len(x)))
    note = f"{note}; {len(x)} samples, {len(y)} reference images"
    return {
        "precision": share(torch.cat(precise).cpu().numpy(), note),
        "recall": _of_samples(share(recalled.cpu().numpy(), note), len(x)),
        "density": Estimate(density, max(density - Z * error, 0.0), density + Z * error, len(x), note),
        "coverage": _of_samples(share(covered.cpu().numpy(), note), len(x)),
    }


def _of_samples(estimate: Estimate, count: int) -> Estimate:
    """The estimate with the number of samples, where the share is one of reference features."""
    return Estimate(estimate.value, estimate.low, estimate.high, count, estimate.note)


def _quantity(name: str, column: int, rate: bool, meaning: str) -> Quantity:
    return Quantity(
        key=name,
        label=name,
        better="higher",
        rate=rate,
        meaning=meaning,
        column=column,
        network="features",
        customary=name,
    )


@metric(
    "pr",
    version="2",
    quantities=[
        _quantity("precision", 16, True, "share of samples within the third-neighbour ball of a reference example"),
        _quantity("recall", 17, True, "share of reference examples within the third-neighbour ball of a sample"),
        _quantity("density", 18, False, "reference balls that a sample lies in, about 1 for equal laws"),
        _quantity("coverage", 19, True, "share of reference examples whose fifth-neighbour ball holds a sample"),
    ],
    needs=["reference features"],
    least=20,
)
def pr(evidence: Evidence) -> dict[str, Estimate]:
    """Measure `precision`, `recall`, `density`, `coverage`."""
    reference = evidence.once("balls", lambda: Balls.of(evidence.reference_features))
    return precision_recall_density_coverage(Balls.of(evidence.features), reference, evidence.feature_note)
