r"""Kernel distance: squared MMD with the kernel (⟨x, y⟩/D + 1)³ (KID: Bińkowski et al., ICLR 2018, arXiv 1801.01401).

`kernel_distance` uses every pair (the unbiased estimate of least variance) and has an interval;
`kernel_distance_subsets` is the customary mean over random subsets, drawn as torch-fidelity draws them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.metrics.base import Estimate, Quantity
from benchmark.metrics.estimation.intervals import Z
from benchmark.metrics.evidence import Evidence
from benchmark.metrics.registry import metric

SUBSET = 1000  # as is customary
BLOCK = 1 << 25  # kernel values held at once (256 MiB)


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """(⟨x, y⟩/D + 1)³ in float64, [S, M], of features [S, D] and [M, D]."""
    return torch.addmm(torch.ones((), dtype=torch.float64, device=x.device), x, y.T, alpha=1 / x.shape[1]).pow_(3)


@dataclass(frozen=True)
class KernelSums:
    """What the kernel distance needs of a set by itself: mean kernel of each member with the others, [S]."""

    features: Tensor
    within: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "KernelSums":
        """Of features [S, D]; the float64 copy is kept."""
        x = features.double()
        rows = torch.cat([kernel(part, x).sum(1) for part in x.split(max(1, BLOCK // len(x)))])
        return cls(x, (rows - kernel_diagonal(x)) / (len(x) - 1))


def kernel_distance(sample: KernelSums, reference: KernelSums, note: str = "") -> Estimate:
    """Unbiased estimate of MMD², possibly negative; infinitesimal-jackknife interval over samples and reference.

    MMD² = mean k(x, x') + mean k(y, y') − 2 mean k(x, y) over pairs of distinct members; its derivative by the weight
    of x_i is 2 (mean_j k(x_i, x_j) − mean_j k(x_i, y_j)), and likewise for y.
    """
    x, y = sample.features, reference.features
    to_reference, to_sample = [], torch.zeros(len(y), dtype=torch.float64, device=y.device)
    for part in x.split(max(1, BLOCK // len(y))):
        values = kernel(part, y)
        to_reference.append(values.mean(1))
        to_sample += values.sum(0) / len(x)
    cross = torch.cat(to_reference)
    value = float(sample.within.mean() + reference.within.mean() - 2 * cross.mean())
    variance = (2 * (sample.within - cross)).var() / len(x) + (2 * (reference.within - to_sample)).var() / len(y)
    error = float(variance) ** 0.5
    return Estimate(value, value - Z * error, value + Z * error, len(x), f"{note}; all pairs")


def kernel_distance_subsets(
    features: Tensor, reference: Tensor, subsets: int = 100, size: int = SUBSET, seed: int = 2020, note: str = ""
) -> Estimate:
    """Mean over subsets of `size` of either side, [S, D] and [M, D], drawn as torch-fidelity draws them.

    The subsets overlap, so their spread is no standard error of the mean: no interval is given.
    """
    rng, values = np.random.RandomState(seed), []
    for _ in range(subsets):
        x, y = (part[rng.choice(len(part), size, replace=False)].double() for part in (features, reference))
        pairs = size * (size - 1)
        within = sum((kernel(z, z).sum() - kernel_diagonal(z).sum()) / pairs for z in (x, y))
        values.append(float(within - 2 * kernel(x, y).mean()))
    spread = float(np.std(values))
    note = f"{note}; {subsets} subsets of {size}, whose standard deviation is {spread:.3g}"
    return Estimate(float(np.mean(values)), count=len(features), note=note)


def kernel_diagonal(x: Tensor) -> Tensor:
    """k(x_i, x_i), [S]."""
    return (x.square().sum(1) / x.shape[1] + 1).pow(3)


MEANING = "squared maximum mean discrepancy with a cubic kernel, unbiased"
KID = Quantity(key="kid", label="KID", better="lower", meaning=f"{MEANING}, in the features of FID", column=14)
SUBSETS = Quantity(key="kid_subsets", label="KID (subsets)", better="lower", meaning=f"{MEANING}: mean over subsets")


@metric(
    "kd",
    version="2",
    quantities=[
        KID,
        KID.in_features("kd", "KD", MEANING, column=15),
    ],
    needs=["reference features"],
    least=20,
)
def kd(evidence: Evidence) -> dict[str, Estimate]:
    """Measure `kd` from every pair."""
    reference = evidence.once("kernel sums", lambda: KernelSums.of(evidence.reference_features))
    note = f"{evidence.feature_note}, {len(reference.features)} images"
    return {"kd": kernel_distance(KernelSums.of(evidence.features), reference, note)}


@metric(
    "kd-subsets",
    version="2",
    quantities=[
        SUBSETS,
        SUBSETS.in_features("kd_subsets", "KD (subsets)", SUBSETS.meaning),
    ],
    needs=["reference features"],
    least=SUBSET,
    usual=False,
)
def kd_subsets(evidence: Evidence) -> dict[str, Estimate]:
    """Measure `kd_subsets`, the customary mean over random subsets."""
    reference = evidence.reference_features
    return {"kd_subsets": kernel_distance_subsets(evidence.features, reference, note=evidence.feature_note)}
