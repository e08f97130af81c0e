"""Mode-mixture rate (DPM-OT, Li et al., ICCV 2023): samples in which a classifier sees two classes at once."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from benchmark.metrics.base import Estimate, Quantity
from benchmark.metrics.estimation.intervals import share
from benchmark.metrics.evidence import Evidence
from benchmark.metrics.registry import metric

LAMBDAS = (0.1, 0.11, 0.115, 0.13, 0.16, 0.2, 0.3, 0.4)  # the released code's list
USUAL = 0.2  # as in the follow-up paper (arXiv 2410.13431)


def mixture_rates(posterior: Tensor, note: str, lambdas: Sequence[float] = LAMBDAS) -> dict[str, Estimate]:
    """`mmr@λ`: share of samples with at least two classes of probability >= λ, from posteriors [S, C].

    Equivalently: whose second largest probability is at least λ. Intervals are exact (Clopper-Pearson).
    """
    second = posterior.topk(2, dim=1).values[:, 1].double().cpu().numpy()
    return {f"mmr@{lam:g}": share(np.greater_equal(second, lam), note) for lam in lambdas}


@metric(
    "mode_mixture",
    version="1",
    quantities=[
        Quantity(
            key=f"mmr@{level:g}",
            label=f"mixture (λ = {level:g})",
            better="lower",
            rate=True,
            meaning=f"share of samples for which at least two classes have probability {level:g} or more",
            column=30 if level == USUAL else None,
            level=level,
        )
        for level in LAMBDAS
    ],
    needs=["posterior"],
)
def mode_mixture(evidence: Evidence) -> dict[str, Estimate]:
    """Measure `mmr@λ`: exact for mixtures, by a classifier for data."""
    return mixture_rates(evidence.posterior, evidence.posterior_note)
