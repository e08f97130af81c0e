"""Training examples in one space, and what is known of distances to them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.metrics.estimation.neighbours import Index

QUANTILE = 0.01


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
