"""What a run was made with: recorded beside the numbers, never part of a run's key."""

import os
import platform
from functools import cache
from typing import Any

import torch

from dpmot.bench.machine import commit, installed, processor

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
