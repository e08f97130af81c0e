"""The store: one JSON record per run, keyed by the hash of its configuration.

    results/runs/<problem>/<sampler>-nfe<NFE>-seed<seed>-<key>.json    a record
    results/samples/<key>.npz                                            samples and trajectories for pictures
    results/.partial/<key>/<shard>.npz                                  shards of a run that was interrupted

Files are written to a temporary name and renamed, so that a killed run leaves nothing half-written.
"""

import contextlib
import hashlib
import json
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.records.files import replacing
from samplers.errors import UserError

SCHEMA = 1
Record = dict[str, Any]


class StoreError(UserError):
    """The results folder can't be used; the message is one line for the user."""


class OtherSchema(StoreError):
    """A record that another version of this project wrote, or will."""


def canonical(config: Mapping[str, Any]) -> str:
    """JSON text that is the same for equal configurations: sorted keys, no spaces, no NaN."""
    return json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def key_of(config: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a configuration, in hexadecimal."""
    return hashlib.sha256(canonical(config).encode()).hexdigest()


def _finite(value: Any) -> Any:
    """`value` with NaN and infinities, which JSON does not have, as None."""
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


class Store:
    """A results folder.

    Raises:
        StoreError: on creation, where the folder can't be written to.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise StoreError(f"can't write to the results folder {self.root}: {error.strerror or error}") from None

    def path(self, config: Mapping[str, Any]) -> Path:
        """Where the record of a configuration is."""
        name = f"{config['sampler']['name']}-nfe{config['nfe']}-seed{config['seed']}-{key_of(config)[:12]}.json"
        return self.root / "runs" / config["problem"]["name"] / name

    def finished(self, config: Mapping[str, Any]) -> Record | None:
        """The record of a configuration if it was run to the end, else None (damaged and failed runs are repeated)."""
        path = self.path(config)
        record = read_or_set_aside(path) if path.exists() else None
        return record if record and record["status"] == "ok" and record["key"] == key_of(config) else None

    def save(self, record: Record) -> Path:
        """Write a record, replacing an earlier one of the same key."""
        path = self.path(record["config"])
        text = json.dumps(_finite(record), indent=1, allow_nan=False) + "\n"
        self._write(path, lambda file: file.write(text.encode()))
        return path

    def save_arrays(self, key: str, **arrays: Any) -> None:
        """Keep arrays for pictures beside the record of that key."""
        self._write(self.root / "samples" / f"{key}.npz", lambda file: np.savez_compressed(file, **arrays))

    def arrays(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays kept for a key, or None."""
        return read_arrays(self.root, key)

    def shard(self, key: str, index: int) -> dict[str, np.ndarray] | None:
        """A shard that an interrupted run finished, or None."""
        return _load(self._partial(key) / f"{index}.npz")

    def save_shard(self, key: str, index: int, **arrays: Any) -> None:
        """Keep a finished shard until the run is done."""
        self._write(self._partial(key) / f"{index}.npz", lambda file: np.savez(file, **arrays))

    def drop_shards(self, key: str) -> None:
        """Forget the shards of a run."""
        shutil.rmtree(self._partial(key), ignore_errors=True)

    def tidy(self) -> None:
        """Remove the folder of shards where no run is interrupted; only while nothing is run."""
        with contextlib.suppress(OSError):  # it is not there, or not empty
            (self.root / ".partial").rmdir()

    def _partial(self, key: str) -> Path:
        return self.root / ".partial" / key

    def _write(self, path: Path, write: Any) -> None:
        try:
            with replacing(path) as temporary, temporary.open("wb") as file:
                write(file)
        except OSError as error:
            raise StoreError(f"can't write {path}: {error.strerror or error}") from None


RUN = ("key", "config", "status", "metrics", "schema")
"""What a record of a run holds at least."""

ESTIMATE = ("value", "low", "high", "count", "note")
"""What it holds of every metric."""


def read_record(path: Path, wanted: Sequence[str] = RUN) -> Record:
    """Read and check one record, of a run or of what else is kept under the key of its configuration.

    Raises:
        StoreError: it is no record, or not of this schema.
    """
    try:
        record = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: not JSON ({error})") from None
    if not isinstance(record, dict) or any(name not in record for name in wanted):
        raise StoreError(f"{path}: not a record (needs {', '.join(wanted)})")
    if record["schema"] != SCHEMA:
        raise OtherSchema(f"{path}: record of schema {record['schema']}, this version reads {SCHEMA}")
    if key_of(record["config"]) != record["key"]:
        raise StoreError(f"{path}: the key does not fit the configuration (edited or damaged)")
    if wanted == RUN:
        try:
            rows(record)
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"{path}: damaged inside ({type(error).__name__}: {error})") from None
    return record


def read_or_set_aside(path: Path, wanted: Sequence[str] = RUN) -> Record | None:
    """A record; or None for a damaged one, which is named on standard error and renamed to `<name>.damaged`.

    One that cannot be opened, or is of another schema, is named and stays.
    """
    try:
        return read_record(path, wanted)
    except (OSError, OtherSchema) as error:
        print(f"warning: {error}; left out", file=sys.stderr)
        return None
    except StoreError as error:
        try:
            path.replace(path.with_name(path.name + ".damaged"))
            print(f"warning: {error}; set aside as {path.name}.damaged", file=sys.stderr)
        except OSError:
            print(f"warning: {error}; left out", file=sys.stderr)
        return None


def read_records(root: Path | str, problem: str = "*") -> list[Record]:
    """Every readable record below a results folder, in the order of their paths; damaged ones are set aside."""
    paths = sorted(Path(root).glob(f"runs/{problem}/*.json"))
    return [record for record in map(read_or_set_aside, paths) if record]


def read_arrays(root: Path | str, key: str) -> dict[str, np.ndarray] | None:
    """The arrays kept for a key (samples, trajectories), or None where there are none or they can't be read."""
    return _load(Path(root) / "samples" / f"{key}.npz")


def _load(path: Path) -> dict[str, np.ndarray] | None:
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def describe(options: Mapping[str, Any]) -> str:
    """Options as a short text: `width=0.1, modes=8`."""
    texts = {key: f"{value:g}" if isinstance(value, float) else str(value) for key, value in options.items()}
    return ", ".join(f"{key}={text}" for key, text in texts.items())


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row per finished record and metric value.

    Columns: problem, problem_options, sampler, label (sampler with the options that differ from its defaults), options
    (the differing ones), nfe (asked), nfe_counted, seed, samples, key, fit_seconds, sampling_seconds, metric, value,
    low, high, count, note.
    """
    return pd.DataFrame([row for record in records for row in rows(record)])


def rows(record: Record) -> list[dict[str, Any]]:
    """The rows of `frame` that a record gives: none where the run failed."""
    if record["status"] != "ok":
        return []
    config = record["config"]
    problem, sampler = config["problem"], config["sampler"]
    changed = describe(record.get("changed", {}))
    of_run = {
        "problem": problem["name"],
        "problem_options": describe(problem["options"]),
        "sampler": sampler["name"],
        "label": f"{sampler['name']} ({changed})" if changed else sampler["name"],
        "options": changed,
        "nfe": config["nfe"],
        "nfe_counted": record["nfe"],
        "seed": config["seed"],
        "samples": config["samples"],
        "key": record["key"],
        "fit_seconds": record["fit"]["seconds"],
        "sampling_seconds": record["sampling"]["seconds"],
    }
    return [
        {**of_run, "metric": metric, **{name: estimate.get(name) for name in ESTIMATE}}
        for metric, estimate in record["metrics"].items()
    ]
