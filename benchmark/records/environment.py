"""What a run was made with: recorded beside the numbers, never part of a run's key."""

import hashlib
import inspect
import os
import platform
import sys
from functools import cache
from typing import Any

import torch

from dpmot.machine import commit, installed, processor
from samplers.plugins import Entry

OWN = ("samplers", "benchmark")
"""Packages whose code is told apart by the versions that it states."""
PACKAGES = ("torch", "numpy", "scipy", "pot", "scikit-learn")


@cache
def describe(device: str = "cpu") -> dict[str, Any]:
    """Versions, hardware and commit, JSON-ready."""
    return {
        "python": platform.python_version(),
        "packages": {name: installed(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        **commit(),
    }


def code(entry: Entry[Any]) -> dict[str, str | None]:
    """Where a sampler, metric or problem comes from: module, a hash of its text, a plugin's package; JSON-ready."""
    module = sys.modules.get(entry.origin)
    try:
        text = hashlib.sha256(inspect.getsource(module).encode()).hexdigest()[:16] if module else None
    except (OSError, TypeError):  # made at an interpreter's prompt, or compiled
        text = None
    return {"module": entry.origin, "sha256": text, "package": entry.package}


def foreign(entry: Entry[Any]) -> dict[str, str | None]:
    """What tells the code of another package from an earlier one, as `code`; {} for what is ours."""
    if entry.package is None and entry.origin.partition(".")[0] in OWN:
        return {}
    return code(entry)
