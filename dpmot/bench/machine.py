"""What a record was made with: commit, hardware, versions."""

import hashlib
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
PACKAGES = ("triton", "numpy", "pot", "jax", "ott-jax", "optax")


def describe(device: torch.device | str) -> dict[str, Any]:
    """Commit, hardware, versions: JSON-ready.

    commit and dirty are git's. For a copy without its repository $DPMOT_COMMIT gives them, as printed by
    `git describe --always --dirty --abbrev=40`; sources, a hash of this package's code, holds in any case.
    """
    commit = os.environ.get("DPMOT_COMMIT") or _output("git", "describe", "--always", "--dirty", "--abbrev=40")
    on_gpu = torch.device(device).type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads",
        "devices": torch.cuda.device_count() if on_gpu else 0,
        "driver": _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if on_gpu else None,
        "cuda": torch.version.cuda if on_gpu else None,
        "processor": _processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: _version(name) for name in PACKAGES},
        "jax_backend": sys.modules["jax"].default_backend() if "jax" in sys.modules else None,
        "commit": commit.removesuffix("-dirty") if commit else None,
        "dirty": commit.endswith("-dirty") if commit else None,
        "sources": _sources(),
    }


def _output(*command: str) -> str | None:
    """First line of what a command prints in this folder; None where it fails."""
    try:
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.splitlines()[0].strip()
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(HERE.parent.rglob("*.py")):
        digest.update(path.relative_to(HERE.parent).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]
