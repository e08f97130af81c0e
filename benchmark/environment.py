"""What a run was made with: recorded beside the numbers, never part of a run's key."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "numpy", "scipy", "pot", "scikit-learn")


def _git(*arguments: str) -> str | None:
    """Output of git in the project's folder; None outside of a checkout."""
    try:
        here = Path(__file__).resolve().parent
        found = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, timeout=10, check=True)
        return found.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@cache
def describe(device: str = "cpu") -> dict[str, Any]:
    """Versions, hardware and commit, JSON-ready."""
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "*.py")
    commit = _git("rev-parse", "HEAD") or os.environ.get("DPMOT_COMMIT")  # stated where a tree is copied without git
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "commit": commit,
        "dirty": None if changed is None else bool(changed),
    }
