"""The record of a run: what is stored of it, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

SCHEMA = 1
"""Raised when records change so that earlier code cannot read them."""

LATER = ("fit", "nfe", "sampling", "measuring")
"""Parts that a run gets as it goes; one that failed lacks those after the failure."""


@dataclass
class Record:
    """What a run was, what it gave, and what it was made with. All values are JSON-ready.

    Attributes:
        key: SHA-256 of the configuration.
        config: exactly what determines the outcome.
        changed: options of the sampler that differ from its defaults.
        status: `ok` or `failed`.
        error: of a run that failed: kind of error, message, and where it was raised.
        metrics: name -> value, low, high, count and note of an estimate.
        environment: versions, hardware, commit, and the code of the sampler.
        created: time of the start, UTC, ISO 8601.
        fit: `seconds`, and in `info` what the sampler's fit found out.
        nfe: network evaluations counted a sample.
        sampling: `seconds` and `samples_per_second`.
        measuring: `seconds`.
        schema: see `SCHEMA`.
    """

    key: str
    config: dict[str, Any]
    changed: dict[str, Any] = field(default_factory=dict)
    status: str = "ok"
    error: str | None = None
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    created: str = ""
    fit: dict[str, Any] | None = None
    nfe: int | None = None
    sampling: dict[str, float] | None = None
    measuring: dict[str, float] | None = None
    schema: int = SCHEMA

    @property
    def ok(self) -> bool:
        """Whether the run came to its end."""
        return self.status == "ok"

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Record":
        """A record from what its file holds.

        Raises:
            TypeError: key or configuration is missing.
        """
        known = {each.name for each in fields(cls)}
        return cls(**{name: value for name, value in content.items() if name in known})

    def to_json(self) -> dict[str, Any]:
        """What the record's file holds, in its order."""
        content = {"schema": self.schema, **vars(self)}
        return {name: value for name, value in content.items() if value is not None or name not in LATER}
