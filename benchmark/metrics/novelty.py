"""Novelty and memorisation: how near samples lie to the training examples, compared with held-out examples."""

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics.base import Estimate, Quantity, declare_share
from benchmark.metrics.data_copying import data_copying
from benchmark.metrics.estimation.intervals import Z, median, share
from benchmark.metrics.evidence import Evidence, Neighbourhood
from benchmark.metrics.registry import metric


def novelty_of(space: Neighbourhood) -> dict[str, Estimate]:
    """Measure the novelty of samples from the two nearest training examples of each.

    * `copy_share`: share of samples nearer to a training example than 99% of held-out examples are (which score 1%).
      The interval is exact for samples, given the threshold.
    * `nn_ratio`: median of nearest to second-nearest distance; near 1 for new samples, near 0 for copies.
    * `authenticity` (Alaa et al., ICML 2022, arXiv 2102.08921): share of samples further from their nearest training
      example than that example is from its own nearest fellow.
    * `ct`: see `data_copying`.
    * `distinct_neighbours`: distinct nearest training examples per sample.
    """
    train = space.train
    nearby, second = space.distances.double().cpu().numpy().T
    neighbour = space.neighbours[:, 0].cpu().numpy()
    ratio = np.divide(nearby, second, out=np.ones_like(nearby), where=second > 0)
    where = f"{space.space}, {len(train.index.points)} training examples"
    return {
        "copy_share": share(nearby < train.copied, f"nearer than {train.copied:.4g}; {where}"),
        "nn_ratio": median(ratio, where),
        "authenticity": share(nearby > train.own(neighbour), where),
        "ct": data_copying(nearby, train.test, space.cells, train.test_cells),
        "distinct_neighbours": distinct(neighbour, where),
    }


def distinct(neighbour: NDArray[np.int64], note: str) -> Estimate:
    """Distinct values per sample, of [S]; the interval is the jackknife's (leaving out a value seen once loses it)."""
    count = len(neighbour)
    times = np.unique(neighbour, return_counts=True)[1]
    once_seen = int((times == 1).sum())
    value = len(times) / count
    # Leaving one out gives (K − [seen once])/(S − 1): two values, so the jackknife's sum has a closed form.
    error = float(np.sqrt(once_seen * (count - once_seen) / (count - 1))) / count
    return Estimate(value, max(value - Z * error, 0.0), min(value + Z * error, 1.0), count, note)


@metric(
    "novelty",
    version="1",
    quantities=[
        declare_share(
            "copy_share",
            "copies",
            meaning="share of samples nearer to a training example than 99% of held-out examples are",
            column=40,
        ),
        Quantity(
            key="nn_ratio",
            label="NN ratio",
            meaning="median of nearest over second-nearest distance to training examples",
            column=41,
        ),
        declare_share(
            "authenticity",
            "authenticity",
            meaning="share of samples farther from their nearest training example than its own neighbour",
        ),
        Quantity(
            key="ct",
            label="C_T",
            meaning="data-copying two-sample score; well below that of held-out examples means copying",
        ),
        declare_share("distinct_neighbours", "distinct", "distinct nearest training examples over samples", column=42),
    ],
    needs=["training set"],
    least=20,
)
def novelty(evidence: Evidence) -> dict[str, Estimate]:
    """Measure the novelty of the samples in every space that there is; `novelty_of` says what is measured."""
    return {
        f"{key}{space.suffix}": estimate
        for space in evidence.neighbourhoods()
        for key, estimate in novelty_of(space).items()
    }
