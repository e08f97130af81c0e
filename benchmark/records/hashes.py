"""Hashes of contents, kept on disk: a file is read again only where its size or one of its times has changed."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from benchmark.records.cache import cache_folder
from benchmark.records.files import write_json

SMALL = 2**20
"""Bytes below which reading a file is as fast as looking up its hash."""
SETTLED = 2.0
"""Seconds that a file must have been unchanged for: a later change within the clock's grain would not be seen."""

Identity = tuple[int, ...]


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    return _remembered("file", path.resolve(), _identity(path))


def array_sha256(path: Path) -> str:
    """Hex SHA-256 of the values of a `.npy`, in the order of their indices, without its header.

    Raises:
        OSError, ValueError, EOFError: it cannot be read, or is no such file.
    """
    return _remembered("array", path.resolve(), _identity(path))


def _identity(path: Path) -> Identity:
    """What changes when a file's content does; a copy made with its times kept has another number or time of change."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_array(path: Path) -> str:
    array = np.lib.format.open_memmap(path, mode="r")
    digest = hashlib.sha256()
    for start in range(0, len(array), 10_000):
        digest.update(np.ascontiguousarray(array[start : start + 10_000]).data)
    return digest.hexdigest()


_WAYS: dict[str, Callable[[Path], str]] = {"file": _hash_file, "array": _hash_array}


@lru_cache(maxsize=4096)
def _remembered(way: str, path: Path, identity: Identity) -> str:
    """The hash from this process's memory, the disk, or the file, in this order."""
    if identity[2] < SMALL:
        return _WAYS[way](path)
    name = hashlib.sha256(f"{way} {path}".encode()).hexdigest()[:20]
    kept = cache_folder() / "hashes" / f"{name}.json"
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found["identity"] == list(identity) and len(found["sha256"]) == 64:
            return str(found["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not kept, or damaged
    digest = _WAYS[way](path)
    if time.time() - max(identity[3:]) / 1e9 > SETTLED and _identity(path) == identity:
        _keep(kept, {"path": os.fspath(path), "identity": list(identity), "sha256": digest})
    return digest


def _keep(path: Path, content: dict[str, object]) -> None:
    with contextlib.suppress(OSError):  # else the file is read again next time
        write_json(path, content)
