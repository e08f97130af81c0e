"""Which modes the samples reach and in what proportions, by the problem's posterior over modes."""

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics.base import Estimate, declare_share
from benchmark.metrics.estimation.intervals import LEVEL, clopper_pearson
from benchmark.metrics.evidence import Evidence
from benchmark.metrics.registry import metric

COVERED = 0.1  # a mode counts as covered when it has at least this share of its true weight
RESAMPLES = 500

Array = NDArray[np.float64]


def modes_covered(assigned: NDArray[np.int64], weights: Array) -> Estimate:
    """Share of modes that get at least a tenth of their true weight, from modes [S] of samples and weights [C].

    A single stray sample between two modes therefore covers neither. The interval counts the modes that are covered
    (not covered) beyond doubt: exact binomial intervals at a joint level of 95% over the modes (Bonferroni).
    """
    count, modes = len(assigned), len(weights)
    hits = np.bincount(assigned, minlength=modes)
    low, high = clopper_pearson(hits, count, 1 - (1 - LEVEL) / modes)
    value, least, most = (float((share >= COVERED * weights).mean()) for share in (hits / count, low, high))
    return Estimate(value, least, most, count, f"share of {modes} modes with >= {COVERED:.0%} of their weight")


def total_variation(posterior: Array, weights: Array, seed: int) -> Estimate:
    """½Σ|ŵ − w| between the mean posterior of the samples [S, C] and the true weights [C].

    The mean posterior is unbiased for the weights of overlapping modes, where counting is not. The interval is
    value ± t, t the 95% quantile of ½Σ|ŵ* − ŵ| over bootstrap resamples ŵ*: by the triangle inequality it covers
    wherever the estimated weights are within t of the samples' law. The note gives what exact weights would score.
    """
    count = len(posterior)
    estimate = posterior.mean(0)
    value = 0.5 * np.abs(estimate - weights).sum()
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES) / count
    spread = np.quantile(0.5 * np.abs(draws @ posterior - estimate).sum(1), LEVEL)
    floor = 0.5 * np.sqrt(2 / np.pi * weights * (1 - weights) / count).sum()
    note = f"exact weights would score about {floor:.3f} at this sample count"
    return Estimate(float(value), float(max(value - spread, 0)), float(min(value + spread, 1)), count, note)


@metric(
    "modes",
    version="1",
    quantities=[
        declare_share(
            "modes_covered",
            "modes covered",
            meaning="share of modes with at least a tenth of their true weight",
            better="higher",
            column=31,
        ),
        declare_share(
            "mode_weights_tv",
            "mode weights TV",
            meaning="total variation between the weights of modes and the true",
            better="lower",
            column=32,
        ),
    ],
    needs=["modes"],
    least=20,
)
def modes(evidence: Evidence) -> dict[str, Estimate]:
    """Measure `modes_covered` (a share) and `mode_weights_tv`."""
    posterior = evidence.posterior.double().cpu().numpy()
    weights = evidence.mode_weights.double().cpu().numpy()
    return {
        "modes_covered": modes_covered(posterior.argmax(1), weights),
        "mode_weights_tv": total_variation(posterior, weights, evidence.seed),
    }
