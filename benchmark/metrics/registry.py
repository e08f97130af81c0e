"""The registry of metrics, what a metric declares, and measuring by names."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from benchmark.metrics.base import Estimate, MetricError, Quantity
from benchmark.metrics.evidence import Evidence, Need
from samplers.plugins import Registry, plug_in_of

Measure = Callable[[Evidence], dict[str, Estimate]]


@dataclass(frozen=True)
class Metric:
    """A registered metric.

    Attributes:
        name: as asked for.
        version: enters the keys of records; raised whenever the numbers change.
        quantities: the values it gives.
        measure: gives an estimate for each of them, by key.
        needs: what it asks of the evidence.
        least: samples that it needs.
        ranks: where values are to compare with published ones, it needs so many times the samples that give the
            covariance of features full rank.
        usual: whether `benchmark.evaluate` measures it where none is named.
    """

    name: str
    version: str
    quantities: tuple[Quantity, ...]
    measure: Measure
    needs: tuple[Need, ...] = ()
    least: int = 2
    ranks: int = 0
    usual: bool = True


def _add(each: Metric) -> Metric:
    METRICS.add(each.name, each, each.measure)
    return each


METRICS: Registry[Metric] = Registry("metric", "benchmark.metrics", "dpmot_bench.metrics", plug_in_of(Metric, _add))
"""Every file of this folder that declares a metric, and entry points of other packages."""


def metric(
    name: str,
    version: str,
    quantities: Iterable[Quantity],
    needs: Iterable[Need] = (),
    least: int = 2,
    ranks: int = 0,
    usual: bool = True,
) -> Callable[[Measure], Metric]:
    """Turn the decorated function into the metric `name`; `Metric` says what the arguments are."""

    def declare(measure: Measure) -> Metric:
        return _add(Metric(name, version, tuple(quantities), measure, tuple(needs), least, ranks, usual))

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


def complaint(each: Metric, evidence: Evidence) -> str | None:
    """Say in one line why a metric cannot be had of this evidence; None where it can. No work is done."""
    for need in each.needs:
        if (lacking := evidence.lacks(need)) is not None:
            return f"metric '{each.name}' needs {lacking}"
    if evidence.count < (least := evidence.least(each.least, each.ranks)):
        return f"metric '{each.name}' needs at least {least} samples, got {evidence.count}"
    compares = {"moments", "reference features"} & set(each.needs)
    if compares and evidence.reference_count is not None and evidence.reference_count < least:
        return f"metric '{each.name}' needs a reference of at least {least}, this one has {evidence.reference_count}"
    return None


def check(metrics: Iterable[str], evidence: Evidence) -> list[Metric]:
    """Look up the named metrics, before any work.

    Raises:
        UserError: one is unknown, or cannot be had of this evidence.
    """
    chosen = [lookup(name) for name in metrics]
    for each in chosen:
        if (said := complaint(each, evidence)) is not None:
            raise MetricError(said)
    return chosen


def measure(metrics: Iterable[str], evidence: Evidence) -> dict[str, Estimate]:
    """Measure by the named metrics.

    Raises:
        UserError: as `check`.
    """
    values: dict[str, Estimate] = {}
    for each in check(metrics, evidence):
        declared = {quantity.key: quantity for quantity in each.quantities}
        for key, estimate in each.measure(evidence).items():
            values[evidence.key(declared[key]) if key in declared else key] = estimate
    return values
