"""Records of runs as rows of a table."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from benchmark.records.record import Record

ESTIMATE = ("value", "low", "high", "count", "note")
"""What a record holds of every metric."""


def describe(options: Mapping[str, Any]) -> str:
    """Options as a short text: `width=0.1, modes=8`."""
    texts = {key: f"{value:g}" if isinstance(value, float) else str(value) for key, value in options.items()}
    return ", ".join(f"{key}={text}" for key, text in texts.items())


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """Make a table with one row per finished record and metric value.

    Columns: problem, problem_options, sampler, label (sampler with the options that differ from its defaults), options
    (the differing ones), nfe (asked), nfe_counted, seed, samples, key, fit_seconds, sampling_seconds, metric, value,
    low, high, count, note.
    """
    return pd.DataFrame([row for record in records for row in rows(record)])


def rows(record: Record) -> list[dict[str, Any]]:
    """The rows of `frame` that a record gives: none where the run failed.

    Raises:
        KeyError, TypeError, AttributeError: the record lacks what they need.
    """
    if not record.ok:
        return []
    assert record.fit is not None and record.sampling is not None
    problem, sampler = record.config["problem"], record.config["sampler"]
    changed = describe(record.changed)
    of_run = {
        "problem": problem["name"],
        "problem_options": describe(problem["options"]),
        "sampler": sampler["name"],
        "label": f"{sampler['name']} ({changed})" if changed else sampler["name"],
        "options": changed,
        "nfe": record.config["nfe"],
        "nfe_counted": record.nfe,
        "seed": record.config["seed"],
        "samples": record.config["samples"],
        "key": record.key,
        "fit_seconds": record.fit["seconds"],
        "sampling_seconds": record.sampling["seconds"],
    }
    return [
        {**of_run, "metric": metric, **{name: estimate.get(name) for name in ESTIMATE}}
        for metric, estimate in record.metrics.items()
    ]
