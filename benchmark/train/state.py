"""The files from which a training goes on: tensors in parts of a limited size, and an index of the parts.

``state.json`` names the parts with their SHA-256, and is replaced last: a kill leaves the old state or the new one.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from benchmark.networks.checkpoint import cut
from benchmark.records.files import write_json
from samplers.errors import UserError

PART = 16 * 2**20
"""Bytes of a part at most, unless a single tensor is larger."""
HEADER = 2**16
"""Bytes of a part kept free for the names of its tensors."""
INDEX = "state.json"


class Resumable(Protocol):
    """A training whose state can be written and gone on from."""

    step: int

    def facts(self) -> dict[str, Any]:
        """Where it stands, JSON-ready."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All tensors from which it can go on; names of weights begin with ``network.`` or ``average``."""
        ...

    def load_state(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Go on from them; raises ValueError where they belong to another training."""
        ...


def resume_or_begin(training: Resumable, folder: Path, resume: bool) -> None:
    """Make ``training`` go on from the state in ``folder`` if it is to, or see that there is none.

    Raises:
        UserError: the state cannot be used, or a training is there already.
    """
    if resume:
        read_state(training, folder)
    elif (folder / INDEX).exists():
        raise UserError(
            f"{folder / INDEX} is of a training: --resume goes on with it; remove it, or give another --work, "
            "to begin anew"
        )


def write_state(training: Resumable, folder: Path, compact: bool = False) -> None:
    """Write the state of ``training`` to ``folder``, in the place of the one there.

    Args:
        compact: store weights and their averages as float16, what the optimisers remember as bfloat16, in the place of
            float32: for a way that takes little. A run that goes on from it differs by that rounding.

    Raises:
        OSError: it cannot be written; the state of before is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, str] = {}
    try:
        for number, tensors in enumerate(cut(_stored(training.tensors(), compact), PART - HEADER)):
            data = save(tensors)
            name = f"state-{training.step:07d}-{number:02d}.safetensors"
            (folder / name).write_bytes(data)
            parts[name] = hashlib.sha256(data).hexdigest()
        write_json(folder / INDEX, {**training.facts(), "parts": parts})
    except OSError:
        _remove_parts(folder, except_for=_named(folder))
        raise
    _remove_parts(folder, except_for=set(parts))


def read_state(training: Resumable, folder: Path) -> None:
    """Make ``training`` go on from the state in ``folder``.

    Raises:
        UserError: there is none, or it cannot be used.
    """
    index = folder / INDEX
    try:
        facts = json.loads(index.read_text())
        tensors: dict[str, Tensor] = {}
        for name, expected in facts["parts"].items():
            data = (folder / Path(name).name).read_bytes()
            if hashlib.sha256(data).hexdigest() != expected:
                raise ValueError(f"{name} is damaged")
            tensors |= load(data)
        training.load_state(facts, tensors)
    except FileNotFoundError as error:
        missing = (
            "nothing to resume from" if not index.exists() else f"cannot resume from it ({error.filename} is missing)"
        )
        raise UserError(f"{index}: {missing}") from None
    except (OSError, KeyError, TypeError, AttributeError, ValueError, SafetensorError) as error:
        raise UserError(f"{index}: cannot resume from it ({str(error).splitlines()[0]})") from None


def _stored(tensors: dict[str, Tensor], compact: bool) -> dict[str, Tensor]:
    """The tensors on the CPU, in the types to be stored."""

    def kind(name: str) -> torch.dtype:
        if not compact:
            return torch.float32
        return torch.float16 if name.startswith(("network.", "average ")) else torch.bfloat16

    return {name: t.detach().to("cpu", kind(name)).contiguous() for name, t in tensors.items()}


def _named(folder: Path) -> set[str]:
    """Parts of the state that ``folder`` holds."""
    try:
        named: dict[str, Any] = json.loads((folder / INDEX).read_text())["parts"]
    except (OSError, ValueError, KeyError):
        return set()
    return set(named)


def _remove_parts(folder: Path, except_for: set[str]) -> None:
    """Remove parts that belong to no state any more."""
    for path in [*folder.glob("state-*.safetensors"), *folder.glob(f".{INDEX}.*")]:
        if path.name not in except_for:
            path.unlink(missing_ok=True)
