"""What a metric is: a named, versioned function from samples and a problem to estimates with their uncertainty."""

import difflib
import weakref
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from benchmark.problems.base import Problem

T = TypeVar("T")


class MetricError(ValueError):
    """Samples or a reference that a metric cannot work with; the message is one line for the user."""


@dataclass(frozen=True)
class Estimate:
    """A measured number with its uncertainty.

    Attributes:
        value: the estimate.
        low, high: 95% interval; None where there is none.
        count: samples it was computed from.
        note: what a reader must know of it (bias, features, reference).
    """

    value: float
    low: float | None = None
    high: float | None = None
    count: int = 0
    note: str = ""


Measure = Callable[[Tensor, Problem, int], dict[str, Estimate]]


@dataclass(frozen=True)
class Metric:
    """A registered metric: `measure(samples [S, *shape], problem, seed)` and the version its records are keyed by."""

    name: str
    version: str
    measure: Measure
    least: int


_metrics: dict[str, Metric] = {}


def register(name: str, version: str, least: int = 2) -> Callable[[Measure], Measure]:
    """Decorator: make a function known as the metric `name`, which needs at least `least` samples.

    Raise `version` whenever the numbers change: records made by another version are then not taken for current ones.
    """

    def add(measure: Measure) -> Measure:
        _metrics[name] = Metric(name, version, measure, least)
        return measure

    return add


def names() -> tuple[str, ...]:
    """All registered metrics."""
    return tuple(_metrics)


def lookup(name: str) -> Metric:
    """The metric of this name.

    Raises:
        MetricError: there is none; the message says which there are.
    """
    if name not in _metrics:
        close = difflib.get_close_matches(name, _metrics, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"choose from {', '.join(_metrics)}"
        raise MetricError(f"unknown metric '{name}': {hint}")
    return _metrics[name]


def versions(metrics: Iterable[str]) -> dict[str, str]:
    """Version of each metric, for the record and its key."""
    return {name: lookup(name).version for name in metrics}


def compute(metrics: Iterable[str], samples: Tensor, problem: Problem, seed: int = 0) -> dict[str, Estimate]:
    """Measure samples [S, *shape] by the named metrics; `seed` drives resampling only.

    Raises:
        MetricError: unknown metric, samples that are not finite, or fewer than a metric needs.
    """
    chosen = [lookup(name) for name in metrics]
    broken = int((~torch.isfinite(samples.flatten(1))).any(1).sum())
    if broken:
        raise MetricError(f"{broken} of {len(samples)} samples are not finite")
    for metric in chosen:
        if len(samples) < metric.least:
            raise MetricError(f"metric '{metric.name}' needs at least {metric.least} samples, got {len(samples)}")
    values: dict[str, Estimate] = {}
    for metric in chosen:
        values |= metric.measure(samples, problem, seed)
    return values


_kept: dict[int, dict[Hashable, Any]] = {}


def once(problem: object, key: Hashable, make: Callable[[], T]) -> T:
    """`make()`, remembered for this problem object for as long as it lives (problems need not be hashable)."""
    if id(problem) not in _kept:
        _kept[id(problem)] = {}
        weakref.finalize(problem, _kept.pop, id(problem), None)
    kept = _kept[id(problem)]
    if key not in kept:
        kept[key] = make()
    return kept[key]
