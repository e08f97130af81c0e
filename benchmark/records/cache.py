"""Arrays that take long to compute, kept on disk: one file for each key."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from benchmark.records.files import replacing


def cache_folder() -> Path:
    """Where computed arrays are kept: ``$DPMOT_CACHE``, else ``~/.cache/dpmot/computed``."""
    return Path(os.environ.get("DPMOT_CACHE") or Path.home() / ".cache" / "dpmot" / "computed").expanduser()


def cached(folder: Path, label: str, key: Any, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """``make()``, or what it gave before under this key; a kill while it is written leaves nothing half-written.

    Where several processes want the same, one makes it and the others wait.

    Args:
        label: start of the file's name, for people.
        key: JSON-ready; all that the array depends on.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]
    path = folder / f"{label.replace(':', '_').replace('/', '_')}-{digest}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                found = make()
                with replacing(path) as temporary, temporary.open("wb") as file:
                    np.save(file, found)
    return np.load(path)
