"""The store: JSON records, each in a file of its own under the hash of its configuration.

    results/runs/<problem>/<sampler>-nfe<NFE>-seed<seed>-<key>.json    the record of a run
    results/samples/<key>.npz                                            samples and trajectories for pictures
    results/.partial/<key>/<shard>.npz                                  shards of a run that was interrupted
    results/bound/cells/<mixture>-<key>.json                            a cell of the study of the error bound
    results/bound/networks/<problem>-<key>.json                         its terms on a trained network

Files are written to a temporary name and renamed, so that a killed run leaves nothing half-written.
"""

import contextlib
import hashlib
import json
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.records.files import replacing, write_json
from benchmark.records.record import SCHEMA, Record
from benchmark.records.rows import rows
from samplers.errors import UserError

RUN = ("key", "config", "status", "metrics", "schema")
"""What a record of a run holds at least."""

FILES = f"*-{'[0-9a-f]' * 12}.json"
"""Names of records: they end with the first 12 digits of the key."""


class StoreError(UserError):
    """The results folder cannot be used, or a record in it cannot be read."""


class OtherSchema(StoreError):
    """A record that another version of this project wrote, or will."""


def canonical(config: Mapping[str, Any]) -> str:
    """JSON text that is the same for equal configurations: sorted keys, no spaces, no NaN."""
    return json.dumps(config, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def key_of(config: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a configuration, in hexadecimal."""
    return hashlib.sha256(canonical(config).encode()).hexdigest()


def writable(root: Path) -> Path:
    """The results folder, made where it is missing.

    Raises:
        StoreError: it cannot be written to.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            return root
    except OSError as error:
        raise StoreError(f"can't write to the results folder {root}: {error.strerror or error}") from None


@dataclass(frozen=True)
class RecordFolder:
    """A folder of records of one kind.

    Attributes:
        folder: where they are.
        name: configuration -> the start of a record's path in the folder; its key follows.
        needs: what a record holds at least.
    """

    folder: Path
    name: Callable[[Mapping[str, Any]], str]
    needs: Sequence[str] = RUN

    def path(self, config: Mapping[str, Any]) -> Path:
        """Where the record of a configuration is."""
        return self.folder / f"{self.name(config)}-{key_of(config)[:12]}.json"

    def find(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """The record of a configuration, or None where there is none; a damaged one is named and set aside."""
        path = self.path(config)
        record = read_or_set_aside(path, self.needs) if path.exists() else None
        return record if record and record["key"] == key_of(config) else None

    def save(self, record: Mapping[str, Any]) -> Path:
        """Write a record in the place of an earlier one of the same key.

        Raises:
            StoreError: it cannot be written.
        """
        path = self.path(record["config"])
        with _complaining(path):
            write_json(path, record)
        return path

    def read(self) -> list[dict[str, Any]]:
        """Every readable record, in the order of their paths; damaged ones are named and set aside."""
        paths = sorted(path for path in self.folder.rglob(FILES) if path.is_file())
        return [record for path in paths if (record := read_or_set_aside(path, self.needs))]


class Store:
    """The results folder of runs; made when something is written to it."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._runs = runs_in(self.root)

    def path(self, config: Mapping[str, Any]) -> Path:
        """Where the record of a configuration is."""
        return self._runs.path(config)

    def finished(self, config: Mapping[str, Any]) -> Record | None:
        """The record of a configuration if it was run to the end, else None (damaged and failed runs are repeated)."""
        found = self._runs.find(config)
        return Record.from_json(found) if found and found["status"] == "ok" else None

    def save(self, record: Record) -> Path:
        """Write a record in the place of an earlier one of the same key."""
        return self._runs.save(record.to_json())

    def save_arrays(self, key: str, **arrays: Any) -> None:
        """Keep arrays for pictures beside the record of that key."""
        self._write(self.root / "samples" / f"{key}.npz", lambda file: np.savez_compressed(file, **arrays))

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

    def _write(self, path: Path, write: Callable[[Any], None]) -> None:
        with _complaining(path), replacing(path) as temporary, temporary.open("wb") as file:
            write(file)


def runs_in(root: Path) -> RecordFolder:
    """The records of runs below a results folder."""

    def name(config: Mapping[str, Any]) -> str:
        return f"{config['problem']['name']}/{config['sampler']['name']}-nfe{config['nfe']}-seed{config['seed']}"

    return RecordFolder(root / "runs", name)


def read_records(root: Path | str) -> list[Record]:
    """Every readable record of a run below a results folder; damaged ones are named and set aside."""
    return [Record.from_json(content) for content in runs_in(Path(root)).read()]


def read_record(path: Path, wanted: Sequence[str] = RUN) -> dict[str, Any]:
    """Read and check one record, of a run or of what else is kept under the key of its configuration.

    Raises:
        StoreError: it is no record, or not of this schema.
        OSError: it cannot be opened.
    """
    try:
        record = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path}: not JSON ({error})") from None
    if not isinstance(record, dict) or any(name not in record for name in wanted):
        raise StoreError(f"{path}: not a record (needs {', '.join(wanted)})")
    if record.get("schema", SCHEMA) != SCHEMA:
        raise OtherSchema(f"{path}: record of schema {record['schema']}, this version reads {SCHEMA}")
    try:
        if key_of(record["config"]) != record["key"]:
            raise StoreError(f"{path}: the key does not fit the configuration (edited or damaged)")
        if wanted == RUN:
            rows(Record.from_json(record))
    except (KeyError, TypeError, AttributeError, AssertionError) as error:
        raise StoreError(f"{path}: damaged inside ({type(error).__name__}: {error})") from None
    except UserError:
        raise
    except ValueError as error:  # NaN in the configuration
        raise StoreError(f"{path}: damaged inside ({error})") from None
    return record


def read_or_set_aside(path: Path, wanted: Sequence[str] = RUN) -> dict[str, Any] | None:
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


def read_arrays(root: Path | str, key: str) -> dict[str, np.ndarray] | None:
    """The arrays kept for a key (samples, trajectories), or None where there are none or they can't be read."""
    return _load(Path(root) / "samples" / f"{key}.npz")


def _load(path: Path) -> dict[str, np.ndarray] | None:
    try:
        with np.load(path) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


@contextlib.contextmanager
def _complaining(path: Path) -> Any:
    """Say in one line that a file cannot be written."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"can't write {path}: {error.strerror or error}") from None
