"""Metrics: functions from samples to estimates with their uncertainty, one file each, which says how they are shown.

A file of this folder adds a metric; nothing else lists them. Heavy libraries are imported only by the metrics that need
them, when they measure.
"""

from benchmark.metrics.base import (
    METRICS,
    Estimate,
    Metric,
    MetricError,
    Quantity,
    compute,
    lookup,
    metric,
    quantities,
    quantity,
    versions,
)

__all__ = [
    "METRICS",
    "Estimate",
    "Metric",
    "MetricError",
    "Quantity",
    "compute",
    "lookup",
    "metric",
    "quantities",
    "quantity",
    "versions",
]
