"""What a run was made with: recorded beside the numbers, never part of a run's key."""

import hashlib
import inspect
import os
import platform
from functools import cache
from typing import Any

import torch

from dpmot.machine import commit, installed, processor
from samplers.registry import Entry

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


def code(entry: Entry) -> dict[str, str | None]:
    """Where a sampler comes from: module, a hash of its text, and the package of a plugin; JSON-ready."""
    module = inspect.getmodule(entry.cls)
    try:
        text = hashlib.sha256(inspect.getsource(module).encode()).hexdigest()[:16] if module else None
    except (OSError, TypeError):  # made at an interpreter's prompt, or compiled
        text = None
    return {"module": entry.origin, "sha256": text, "package": entry.package}
