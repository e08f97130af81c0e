"""What a metric is: a named, versioned function from samples to estimates, and how each of its values is shown."""

import weakref
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from benchmark.problems.base import Problem
from samplers.errors import UserError
from samplers.plugins import Registry

T = TypeVar("T")


class MetricError(UserError):
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


@dataclass(frozen=True)
class Quantity:
    """A value that a metric gives, and how tables, figures and the page show it.

    Attributes:
        key: its name in records.
        label: its name for readers.
        better: which way is better; None for what is to be read beside the same value of held-out examples.
        rate: whether it is a share in [0, 1], shown in percent.
        meaning: one line for the page.
        column: its place among the columns of tables, counted from the left; None for the page alone.
        quality: whether it measures quality as a whole. Of those that a problem has, the leftmost is the one shown.
        unbiased: key of the value that tests use in its place, where it is itself cut off at 0.
        level: the parameter of one value of a family such as `mmr@λ`.
    """

    key: str
    label: str
    better: Literal["lower", "higher"] | None = None
    rate: bool = False
    meaning: str = ""
    column: int | None = None
    quality: bool = False
    unbiased: str | None = None
    level: float | None = None


Measure = Callable[[Tensor, Problem, int], dict[str, Estimate]]


@dataclass(frozen=True)
class Metric:
    """A registered metric.

    Attributes:
        name: as asked for.
        version: enters the keys of records; raised whenever the numbers change.
        quantities: the values it gives.
        measure: measure(samples [S, *shape], problem, seed) -> an estimate for each quantity.
        needs: what it needs beside the samples: `features`, `reference`, `posterior`, `training set`.
        least: samples that it needs.
    """

    name: str
    version: str
    quantities: tuple[Quantity, ...]
    measure: Measure
    needs: tuple[str, ...] = ()
    least: int = 2


def _plug_in(name: str, loaded: object) -> None:
    if not isinstance(loaded, Metric):
        raise TypeError(f"is a {type(loaded).__name__}, not a Metric")
    METRICS.add(loaded.name, loaded, loaded.measure)


METRICS: Registry[Metric] = Registry("metric", "benchmark.metrics", "dpmot_bench.metrics", _plug_in)
"""Every file of this folder that declares a metric, and entry points of other packages."""


def metric(
    name: str,
    version: str,
    quantities: Iterable[Quantity],
    needs: Iterable[str] = (),
    least: int = 2,
) -> Callable[[Measure], Metric]:
    """Decorator: turn a function into the metric `name`; see `Metric` for what the arguments say."""

    def declare(measure: Measure) -> Metric:
        declared = Metric(name, version, tuple(quantities), measure, tuple(needs), least)
        METRICS.add(name, declared, measure)
        return declared

    return declare


def lookup(name: str) -> Metric:
    """Find the metric of this name.

    Raises:
        UserError: there is none, or it cannot be used here; the message says which there are.
    """
    return METRICS.lookup(name).item


def quantities() -> dict[str, Quantity]:
    """Gather the values of all metrics by key; those with a column come first, from left to right."""
    known = [quantity for entry in METRICS.available().values() for quantity in entry.item.quantities]
    known.sort(key=lambda quantity: (quantity.column is None, quantity.column or 0))
    return {quantity.key: quantity for quantity in known}


def quantity(key: str) -> Quantity:
    """Find the description of a value in a record; one that no metric declares keeps its key and has no direction.

    A key such as `fd[mobilenet_v2]` is the value `fd` with features that it names.
    """
    base, bracket, rest = key.partition("[")
    found = quantities().get(base, Quantity(base, base))
    return replace(found, key=key, label=f"{found.label}{bracket}{rest}")


def versions(metrics: Iterable[str]) -> dict[str, str]:
    """Give the version of each metric, for the record and its key."""
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
    for each in chosen:
        if len(samples) < each.least:
            raise MetricError(f"metric '{each.name}' needs at least {each.least} samples, got {len(samples)}")
    values: dict[str, Estimate] = {}
    for each in chosen:
        values |= each.measure(samples, problem, seed)
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
