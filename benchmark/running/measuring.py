"""What metrics can ask of a run: its samples beside its problem's examples."""

import hashlib
from collections.abc import Callable, Hashable, Iterable
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.metrics.base import Estimate, MetricError, Quantity
from benchmark.metrics.estimation.gaussian import Gaussian
from benchmark.metrics.estimation.neighbours import Index
from benchmark.metrics.estimation.once import once
from benchmark.metrics.estimation.training_set import TrainingSet
from benchmark.metrics.evidence import Evidence, Need, Neighbourhood
from benchmark.metrics.registry import lookup, measure
from benchmark.problems.base import Problem

T = TypeVar("T")
REFERENCE = 20_000  # most reference examples taken where a problem can draw as many as asked for
HELD_OUT = 0.25  # held-out examples, as a share of the training examples


def measure_run(metrics: Iterable[str], samples: Tensor, problem: Problem, seed: int = 0) -> dict[str, Estimate]:
    """Measure samples [S, *shape] of a problem by the named metrics.

    Raises:
        UserError: unknown metric, samples that are not finite, or fewer than a metric needs.
    """
    broken = int((~torch.isfinite(samples.flatten(1))).any(1).sum())
    if broken:
        raise MetricError(f"{broken} of {len(samples)} samples are not finite")
    with torch.no_grad():
        return measure(metrics, RunEvidence(samples, problem, seed))


def why_not(metric: str, problem: Problem, samples: int) -> str | None:
    """Say in one line why a metric cannot be measured on a problem, before anything runs; None where it can.

    Raises:
        UserError: there is no such metric.
    """
    found = lookup(metric)
    for need in found.needs:
        if (lacking := lacks(problem, need)) is not None:
            return f"metric '{metric}' needs {lacking}"
    if samples < found.least:
        return f"metric '{metric}' needs at least {found.least} samples, got {samples}"
    compares, count = {"moments", "reference features"} & set(found.needs), problem.reference_count
    if compares and count is not None and count < found.least:
        return f"metric '{metric}' needs a reference of at least {found.least}, this one has {count}"
    return None


def lacks(problem: Problem, need: Need) -> str | None:
    """Say what a problem has not, as `Evidence.lacks`."""
    if need in ("moments", "reference features") and not problem.feature_name:
        return "features, and this problem has none"
    if need in ("posterior", "modes") and len(problem.mode_weights) < 2:
        return "classes, and this problem has one alone"
    return None


class RunEvidence(Evidence):
    """Samples [S, *shape] of a run beside its problem."""

    def __init__(self, samples: Tensor, problem: Problem, seed: int = 0) -> None:
        self.samples, self.problem, self.seed, self.count = samples, problem, seed, len(samples)
        self.reference_count = problem.reference_count

    def lacks(self, need: Need) -> str | None:
        return lacks(self.problem, need)

    def key(self, quantity: Quantity) -> str:
        """The plain name, whatever the problem's network, unless it is FID's: the note tells networks apart."""
        return quantity.customary if quantity.network == "features" and self.problem.fid else quantity.key

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        return once(self.problem, key, make)

    def _features(self, x: Tensor) -> Tensor:
        found = self.problem.features(x)
        assert found is not None  # `lacks` has said so
        return found

    @cached_property
    def features(self) -> Tensor:
        return self._features(self.samples)

    @property
    def all_reference_features(self) -> Tensor:
        return self.once("features", lambda: self._features(self.problem.examples("reference", REFERENCE)))

    @property
    def moments(self) -> Gaussian:
        return self.once("moments", lambda: Gaussian.fit(self.all_reference_features))

    @property
    def feature_note(self) -> str:
        return f"features: {self.problem.feature_name}"

    @cached_property
    def posterior(self) -> Tensor:
        return self.problem.posterior(self.samples)

    @property
    def posterior_note(self) -> str:
        return "posterior: the problem's"

    @property
    def mode_weights(self) -> Tensor:
        return self.problem.mode_weights

    def points(self, count: int) -> Tensor:
        return self.samples[:count]

    def reference_points(self, count: int) -> Tensor:
        return self.problem.examples("reference", count)

    @property
    def digests(self) -> NDArray[Any]:
        return np.array([hashlib.sha256(row.tobytes()).hexdigest() for row in self.samples.cpu().numpy()])

    def neighbourhoods(self) -> list[Neighbourhood]:
        """In the space of the samples; a sample's cell is its likeliest mode."""
        train = self.once("training set", self._training_set)
        distances, neighbours = train.index.nearest(self.samples.to(train.index.points.device), 2)
        cells = self.posterior.argmax(1).cpu().numpy()
        return [Neighbourhood(distances, neighbours, cells, train, "sample space")]

    def _training_set(self) -> TrainingSet:
        problem, count = self.problem, self.problem.neighbours
        index = Index.of(problem.examples("train", count).to(problem.device))
        test = problem.examples("test", int(HELD_OUT * count))
        nearest = problem.remember(
            f"held_out_distances, {count} neighbours", lambda: index.nearest(test.to(problem.device), 1)[0][:, 0]
        )
        cells = problem.remember(f"held_out_cells, {len(test)}", lambda: problem.posterior(test).argmax(1))
        return TrainingSet(index, nearest.cpu().numpy(), cells.cpu().numpy())
