"""Arrays that take long to compute, kept on disk: one file for each key."""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from benchmark.records.files import replacing
from samplers.errors import UserError


def cache_folder() -> Path:
    """Where computed arrays are kept: ``$DPMOT_CACHE``, else ``~/.cache/dpmot/computed``."""
    return Path(os.environ.get("DPMOT_CACHE") or Path.home() / ".cache" / "dpmot" / "computed").expanduser()


def cached(folder: Path, label: str, key: Any, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """``make()``, or what it gave before under this key; a kill while it is written leaves nothing half-written.

    Where several processes want the same, one makes it and the others wait.

    Args:
        label: start of the file's name, for people.
        key: JSON-ready; all that the array depends on.

    Raises:
        UserError: the folder cannot be written to.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]
    path = folder / f"{label.replace(':', '_').replace('/', '_')}-{digest}.npy"
    if (found := _load(path)) is None:
        with _locked(path.with_suffix(".lock")):
            if (found := _load(path)) is None:
                found = make()
                with replacing(path) as temporary, temporary.open("wb") as file:
                    np.save(file, found)
    return found


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise UserError(f"{path.parent}: cannot be written ({error.strerror}): name another by DPMOT_CACHE") from None
    try:
        yield
    finally:
        lock.release()


def _load(path: Path) -> NDArray[Any] | None:
    """The array in a file; None where there is none, or a damaged one, which is set aside."""
    try:
        return np.load(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, EOFError) as error:
        path.replace(path.with_name(path.name + ".damaged"))
        print(f"warning: {path}: damaged ({error}); set aside, and made anew", file=sys.stderr)
        return None
