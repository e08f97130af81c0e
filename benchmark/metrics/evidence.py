"""What a metric can ask of samples and of what they are compared with, whether a run's or anyone's images."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.metrics.base import Quantity
from benchmark.metrics.estimation.gaussian import Gaussian
from benchmark.metrics.estimation.training_set import TrainingSet

T = TypeVar("T")
Need = Literal["moments", "reference features", "posterior", "modes", "points", "training set"]
"""Moments of the reference features; those features themselves; class probabilities; those and the modes' true weights;
samples and reference as points of one space; the training examples."""

PAIRS = 10_000
"""Reference examples that measures over pairs use (kernel distance, precision and others)."""


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """The training examples nearest to each of S samples in one space.

    Attributes:
        distances, neighbours: the two nearest, [S, 2] each; distances in the unit of `train`.
        cells: [S], the cell of each sample, for C_T.
        train: the training examples in this space.
        space: what the space is, for notes.
        suffix: what tells values of this space from others of the same name.
    """

    distances: Tensor
    neighbours: Tensor
    cells: NDArray[np.int64]
    train: TrainingSet
    space: str
    suffix: str = ""


class Evidence(ABC):
    """S samples beside a reference. What costs work is computed when a metric first asks for it, and kept.

    Attributes:
        count: S.
        seed: drives resampling only.
        reference_count: reference examples; None where nothing says how many.
    """

    count: int
    seed: int = 0
    reference_count: int | None = None

    @abstractmethod
    def lacks(self, need: Need) -> str | None:
        """Say what is missing and what to do, in words that follow "metric 'x' needs"; None where nothing is."""

    def least(self, least: int, ranks: int) -> int:
        """Samples that a metric needs, which says `least`, and `ranks` times as many as give features full rank."""
        return least

    def key(self, quantity: Quantity) -> str:
        """Name a value in the record."""
        return quantity.key

    @abstractmethod
    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Make what depends on the reference alone, or give what was made before under this key."""

    @property
    @abstractmethod
    def features(self) -> Tensor:
        """Features of the samples, [S, D]."""

    @property
    @abstractmethod
    def moments(self) -> Gaussian:
        """Moments of the reference features."""

    @property
    @abstractmethod
    def all_reference_features(self) -> Tensor:
        """Features of all reference examples, [M, D]."""

    @property
    def reference_features(self) -> Tensor:
        """The features that measures over pairs use: a random part of `PAIRS` of them, or all, [M, D].

        The part is the same for every sample; examples may be sorted by class, or follow each other in a cycle.
        """
        features = self.all_reference_features
        if len(features) <= PAIRS:
            return features
        chosen = np.random.RandomState(0).permutation(len(features))[:PAIRS]
        return features[torch.from_numpy(np.sort(chosen)).to(features.device)]

    @property
    @abstractmethod
    def feature_note(self) -> str:
        """What the features are and the reference is, for notes."""

    @property
    @abstractmethod
    def posterior(self) -> Tensor:
        """Probabilities of modes or classes for each sample, [S, C]."""

    @property
    def log_posterior(self) -> Tensor:
        """Their logarithms in float64, finite, [S, C]."""
        return self.posterior.double().clamp(min=np.finfo(np.float64).tiny).log()

    @property
    @abstractmethod
    def posterior_note(self) -> str:
        """Whose probabilities they are, for notes."""

    @property
    @abstractmethod
    def mode_weights(self) -> Tensor:
        """True weights of the modes or classes, [C]."""

    @abstractmethod
    def points(self, count: int) -> Tensor:
        """The first samples, at most `count`, [n, *shape]."""

    @abstractmethod
    def reference_points(self, count: int) -> Tensor:
        """The first reference examples in the same space, at most `count`, [m, *shape]."""

    @property
    @abstractmethod
    def digests(self) -> NDArray[Any]:
        """A hash of each sample, [S]: equal for equal samples."""

    @abstractmethod
    def neighbourhoods(self) -> list[Neighbourhood]:
        """The nearest training examples, in every space that there is."""
