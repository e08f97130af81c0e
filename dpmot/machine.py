"""What a record was made with: commit, hardware, versions."""

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
PACKAGES = ("triton", "numpy", "pot", "jax", "ott-jax", "optax")


def describe(device: torch.device | str) -> dict[str, Any]:
    """Commit, hardware, versions: JSON-ready.

    sources, a hash of this package's code, holds where neither git nor $DPMOT_COMMIT is there.
    """
    on_gpu = torch.device(device).type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads",
        "devices": torch.cuda.device_count() if on_gpu else 0,
        "driver": output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if on_gpu else None,
        "cuda": torch.version.cuda if on_gpu else None,
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "cores": len(_cores()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: installed(name) for name in PACKAGES},
        "jax_backend": sys.modules["jax"].default_backend() if "jax" in sys.modules else None,
        **commit(),
        "sources": _sources(),
    }


def commit() -> dict[str, str | bool | None]:
    """`commit` of the code, and whether tracked sources differ from it (`dirty`).

    What $DPMOT_COMMIT states (HASH or HASH-dirty), for a copy without its repository; else git's; None without either.
    """
    if stated := os.environ.get("DPMOT_COMMIT"):
        return {"commit": stated.removesuffix("-dirty"), "dirty": stated.endswith("-dirty")}
    found = output("git", "rev-parse", "HEAD")
    changed = output("git", "status", "--porcelain", "--untracked-files=no", "--", ":(top)*.py")
    return {"commit": found, "dirty": changed is not None if found else None}


def output(*command: str) -> str | None:
    """First line of what a command prints in this folder; None where it prints none or fails."""
    try:
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.splitlines()[0].strip()
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def installed(package: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


@contextmanager
def pinned(threads: int, device: torch.device | str) -> Iterator[None]:
    """`threads` host threads meanwhile for PyTorch; on the CPU for XLA too, which starts one for every core it may use.

    So on the CPU the process keeps to as many cores, where the system can pin it. ValueError for fewer than one.
    """
    if threads < 1:
        raise ValueError(f"a solver needs at least one thread, got {threads}")
    before, cores = torch.get_num_threads(), _cores()
    torch.set_num_threads(threads)
    pins = torch.device(device).type == "cpu" and hasattr(os, "sched_setaffinity")
    try:
        if pins:
            os.sched_setaffinity(0, cores[:threads])
        yield
    finally:
        torch.set_num_threads(before)
        if pins:
            os.sched_setaffinity(0, cores)


def _cores() -> list[int]:
    """Those that the process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


@contextmanager
def tf32() -> Iterator[None]:
    """A GPU may round operands of PyTorch's float32 products to TF32 meanwhile, as dpmot's do and JAX's by default."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(HERE.rglob("*.py")):
        digest.update(path.relative_to(HERE).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]
