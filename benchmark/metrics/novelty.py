"""Novelty and memorisation: how near samples lie to the training examples, compared with held-out examples."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.metrics.base import Estimate, Quantity, metric, once
from benchmark.metrics.data_copying import data_copying
from benchmark.metrics.estimation.intervals import Z, median, share
from benchmark.metrics.estimation.neighbours import Index
from benchmark.problems.base import Problem

QUANTILE = 0.01
HELD_OUT = 0.25  # held-out examples, as a share of the training examples


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Training examples and what novelty is judged by.

    Attributes:
        index: the training examples.
        test: distances of held-out examples to their nearest training example, [M].
        test_cells: cell of each held-out example, [M], for C_T.
        unit: what distances are divided by (255 for bytes).
    """

    index: Index
    test: NDArray[np.float64]
    test_cells: NDArray[np.int64]
    unit: float = 1.0

    @property
    def copied(self) -> float:
        """The 1% quantile of the held-out distances: what lies nearer is called a copy."""
        return float(np.quantile(self.test, QUANTILE))

    def own(self, which: NDArray[np.int64]) -> NDArray[np.float64]:
        """Distance of training examples `which` [S] to their nearest fellow, [S]."""
        distinct, back = np.unique(which, return_inverse=True)
        queries = self.index.points[torch.from_numpy(distinct).to(self.index.points.device)]
        return self.index.nearest(queries, 2)[0][:, 1].cpu().numpy()[back] / self.unit


def novelty_of(
    distances: Tensor, neighbours: Tensor, cells: NDArray[np.int64], train: TrainingSet, space: str
) -> dict[str, Estimate]:
    """The novelty measures of samples, from the two nearest training examples of each.

    * `copy_share`: share of samples nearer to a training example than 99% of held-out examples are (which score 1%).
      The interval is exact for samples, given the threshold.
    * `nn_ratio`: median of nearest to second-nearest distance; near 1 for new samples, near 0 for copies.
    * `authenticity` (Alaa et al., ICML 2022, arXiv 2102.08921): share of samples further from their nearest training
      example than that example is from its own nearest fellow.
    * `ct`: see `data_copying`.
    * `distinct_neighbours`: distinct nearest training examples per sample.

    Args:
        distances, neighbours: [S, 2] each, in `train.unit`s; cells: [S], for C_T; space: for the notes.
    """
    nearby, second = distances.double().cpu().numpy().T
    neighbour = neighbours[:, 0].cpu().numpy()
    ratio = np.divide(nearby, second, out=np.ones_like(nearby), where=second > 0)
    where = f"{space}, {len(train.index.points)} training examples"
    return {
        "copy_share": share(nearby < train.copied, f"nearer than {train.copied:.4g}; {where}"),
        "nn_ratio": median(ratio, where),
        "authenticity": share(nearby > train.own(neighbour), where),
        "ct": data_copying(nearby, train.test, cells, train.test_cells),
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


def most_likely(problem: Problem, x: Tensor) -> Tensor:
    """The mode of highest posterior of each x, [B]: the cells of C_T."""
    return problem.posterior(x).argmax(1)


@metric(
    "novelty",
    version="1",
    quantities=[
        Quantity(
            key="copy_share",
            label="copies",
            rate=True,
            meaning="share of samples nearer to a training example than 99% of held-out examples are",
            column=40,
        ),
        Quantity(
            key="nn_ratio",
            label="NN ratio",
            meaning="median of nearest over second-nearest distance to training examples",
            column=41,
        ),
        Quantity(
            key="authenticity",
            label="authenticity",
            rate=True,
            meaning="share of samples farther from their nearest training example than its own neighbour",
        ),
        Quantity(
            key="ct",
            label="C_T",
            meaning="data-copying two-sample score; well below that of held-out examples means copying",
        ),
        Quantity(
            key="distinct_neighbours",
            label="distinct",
            rate=True,
            meaning="distinct nearest training examples over samples",
            column=42,
        ),
    ],
    needs=["training set", "posterior"],
    least=20,
)
def novelty(samples: Tensor, problem: Problem, seed: int) -> dict[str, Estimate]:
    """`copy_share`, `nn_ratio`, `authenticity`, `ct`, `distinct_neighbours` in the space of the samples."""

    def prepare() -> TrainingSet:
        count = problem.neighbours
        index = Index.of(problem.examples("train", count).to(problem.device))
        test = problem.examples("test", int(HELD_OUT * count))
        nearest = problem.remember(
            f"held_out_distances, {count} neighbours", lambda: index.nearest(test.to(problem.device), 1)[0][:, 0]
        )
        cells = problem.remember(f"held_out_cells, {len(test)}", lambda: most_likely(problem, test))
        return TrainingSet(index, nearest.cpu().numpy(), cells.cpu().numpy())

    train: Any = once(problem, "novelty", prepare)
    samples = samples.to(train.index.points.device)
    with torch.no_grad():
        distances, neighbours = train.index.nearest(samples, 2)
        return novelty_of(distances, neighbours, most_likely(problem, samples).cpu().numpy(), train, "sample space")
