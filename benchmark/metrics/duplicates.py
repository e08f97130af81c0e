"""Duplicates within the samples: a generator that repeats itself."""

import numpy as np

from benchmark.metrics.base import Estimate, Quantity
from benchmark.metrics.estimation.intervals import share
from benchmark.metrics.evidence import Evidence
from benchmark.metrics.registry import metric


@metric(
    "duplicates",
    version="1",
    quantities=[
        Quantity(
            key="duplicates",
            label="duplicates",
            rate=True,
            meaning="share of samples that are byte for byte as an earlier one",
            column=43,
        ),
    ],
)
def duplicates(evidence: Evidence) -> dict[str, Estimate]:
    """Measure `duplicates`, the share of samples that repeat an earlier one."""
    _, first, times = np.unique(evidence.digests, return_index=True, return_counts=True)
    repeats = np.ones(evidence.count, bool)
    repeats[first] = False
    note = f"byte for byte as an earlier sample; {(times > 1).sum()} images repeat"
    return {"duplicates": share(repeats, note)}
