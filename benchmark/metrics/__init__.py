"""Metrics: functions from samples to estimates with their uncertainty, one file each, which says how they are shown.

A file of this folder adds a metric for runs, for `benchmark.evaluate`, for tables and for the page; nothing else lists
them. Heavy libraries are imported only by the metrics that need them, when they measure.
"""

from benchmark.metrics.base import Estimate, MetricError, Quantity
from benchmark.metrics.registry import METRICS, Metric, lookup, measure, metric, quantities, quantity, versions

__all__ = [
    "METRICS",
    "Estimate",
    "Metric",
    "MetricError",
    "Quantity",
    "lookup",
    "measure",
    "metric",
    "quantities",
    "quantity",
    "versions",
]
