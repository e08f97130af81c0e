"""Checkpoints of distilled students: the network, and what the file says of how it was trained."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmark.networks.checkpoint import SHIPPED, load_denoiser, read_checkpoint, sha256
from benchmark.networks.replay import ReplayedDenoiser
from samplers.errors import UserError

FACTS = ("method", "nfe", "cost", "seconds", "options", "denoiser")
"""What the file of a student says of it: the sampler's title, the budget that it was trained for, what its training
took (images, evaluations of teachers, seconds), the sampler's options, and what identifies the denoiser it began as."""


def student_file(problem: str, source: str) -> Path:
    """The file of that name, or the shipped student of that name."""
    return path if (path := Path(source)).is_file() else SHIPPED / problem / f"{source}.safetensors"


def student_hash(problem: str, source: str) -> str:
    """SHA-256 of a student's file.

    Raises:
        UserError: it cannot be read.
    """
    path = student_file(problem, source)
    if not path.is_file():
        shipped = sorted(file.stem for file in path.parent.glob("*.safetensors") if "part" not in file.suffixes)
        students = [name for name in shipped if name not in ("classifier", "denoiser")]
        there = f"; {problem} comes with {', '.join(students)}" if students else f"; none comes with {problem}"
        raise UserError(f"student: there is no file {source}{there}")
    return sha256(path)


def open_student(problem: str, source: str, device: torch.device) -> tuple[nn.Module, dict[str, Any]]:
    """A student's network on `device`, and `FACTS` of its training.

    Raises:
        UserError: it cannot be used, or is of another problem.
    """
    student_hash(problem, source)
    path = student_file(problem, source)
    network, metadata = load_denoiser(path, device), read_checkpoint(path)[1]
    if missing := [name for name in FACTS if name not in metadata]:
        raise UserError(f"{path}: is no student (it does not say its {missing[0]})")
    if metadata["problem"] != problem:
        raise UserError(f"{path}: is a student of {metadata['problem']}, not of {problem}")
    texts = ("method", "denoiser")
    try:
        facts = {name: metadata[name] if name in texts else json.loads(metadata[name]) for name in FACTS}
    except ValueError:
        raise UserError(f"{path}: damaged (what it says of its training is no JSON)") from None
    return ReplayedDenoiser(network), facts
