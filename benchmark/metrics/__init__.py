"""Metrics: functions from samples and a problem to estimates with their uncertainty, one file each.

Importing this package registers them all; heavy libraries are imported only by the metrics that need them.
"""

from benchmark.metrics import frechet, mode_mixture, modes, novelty, sliced_w2, w2  # noqa: F401  (they register themselves)
from benchmark.metrics.base import Estimate, MetricError, compute, lookup, names, register, versions

__all__ = ["Estimate", "MetricError", "compute", "lookup", "names", "register", "versions"]
