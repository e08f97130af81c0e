"""Inception score: exp of the mean KL divergence of p(c|x) from p(c) (Salimans et al., NeurIPS 2016, 1606.03498)."""

import numpy as np
from scipy.stats import t
from torch import Tensor

from benchmark.metrics.base import Estimate, Quantity
from benchmark.metrics.estimation.intervals import LEVEL
from benchmark.metrics.evidence import Evidence
from benchmark.metrics.registry import metric

SPLITS = 10


def inception_score(logits: Tensor, splits: int = SPLITS, seed: int = 2020, note: str = "") -> Estimate:
    """Mean score over `splits` parts of the shuffled samples, from logits [S, C]; shuffled as torch-fidelity does.

    The parts share no samples, so their spread gives a t-interval; it is for the score of a part, which is biased
    downwards (by about exp(·)(C − 1)/2 per sample of a part).
    """
    order = np.random.RandomState(seed).permutation(len(logits))
    scores = []
    log_p = logits[order].double().log_softmax(1)
    for i in range(splits):
        part = log_p[i * len(log_p) // splits : (i + 1) * len(log_p) // splits]
        marginal = part.exp().mean(0).log()
        scores.append(float((part.exp() * (part - marginal)).sum(1).mean().exp()))
    value, error = float(np.mean(scores)), float(np.std(scores, ddof=1) / np.sqrt(splits))
    reach = float(t.ppf(0.5 + LEVEL / 2, splits - 1)) * error
    return Estimate(value, value - reach, value + reach, len(logits), f"{note}; {splits} splits")


@metric(
    "is",
    version="1",
    quantities=[
        Quantity(
            key="is",
            label="IS",
            better="higher",
            meaning="Inception score: exp of the mean KL divergence of a sample's class probabilities from their mean",
            column=20,
            network="classifier",
            customary="is",
        ),
    ],
    needs=["posterior"],
    least=10 * SPLITS,
)
def inception(evidence: Evidence) -> dict[str, Estimate]:
    """Measure `is` by the classes of whichever classifier there is."""
    return {"is": inception_score(evidence.log_posterior, note=evidence.posterior_note)}
