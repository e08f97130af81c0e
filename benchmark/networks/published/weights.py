"""Files that `torch.save` wrote: their tensors under the names of the network, averaged where the file has averages.

Nothing in them is run: PyTorch's reader of weights builds tensors and plain values alone.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.networks.checkpoint import CheckpointError

ZIP, LEGACY = b"PK\x03\x04", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How a file of `torch.save` begins: since PyTorch 1.6, and before."""
# ScoreSDE's optimizer states hold learning rates as numpy scalars, under the name that numpy 1 gave the function.
_scalar = np.float64(0).__reduce__()[0]
MODEL = ("model", "state_dict", "model_state_dict", "net", "network", "unet")
"""Under which names training states keep the raw weights."""
AVERAGES = re.compile(r"(^|_)(ema|averages?d?|avg|shadow|smooth)(_|\d|$)", re.IGNORECASE)
"""How the names begin or end under which training states keep averages of the weights."""
_ALLOWED: list[Any] = [
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float32", "float64", "int64")),
    _scalar,
    (_scalar, "numpy.core.multiarray.scalar"),
]


def read_torch_file(path: Path) -> Any:
    """What `torch.save` put into the file.

    Raises:
        CheckpointError: damaged, or it holds more than tensors and plain values.
    """
    with path.open("rb") as file:
        mapped = file.read(len(ZIP)) == ZIP
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # many kinds, all of them an unusable file
        forbidden = re.search(r"GLOBAL (\S+) was not an allowed", str(error))
        if forbidden:
            raise CheckpointError(f"{path}: refused: it holds a '{forbidden[1]}', not tensors alone") from None
        raise CheckpointError(f"{path}: damaged or truncated ({type(error).__name__})") from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a training state or of a bare state dictionary; exponential averages go before raw weights.

    Understood are the layouts of DDIM and NCSNv2 (``[model, optimizer, epoch, step, averages by name]``), ScoreSDE
    (``{model, ema: {shadow_params: averages in the order of the parameters}, ...}``), states with the model and its
    averages under any of the names :data:`MODEL` and :data:`AVERAGES`, and plain ``{name: tensor}``.

    Raises:
        CheckpointError: damaged, foreign, or averages that don't fit the model, of a part of it, or of several kinds:
            raw weights are never taken in the place of averages, nor mixed with them.
    """
    model, average = _parts(path, read_torch_file(path))
    if not _is_state(model) or not isinstance(average, dict):
        raise CheckpointError(f"{path}: no training state or state dictionary that is known")
    state = {name.removeprefix("module."): tensor for name, tensor in model.items()}
    if "shadow_params" in average:
        average = _in_order(path, state, average["shadow_params"])
    if not average:
        return state
    if any(str(name).startswith("ema_model.") for name in average):  # beside the raw weights, as ema-pytorch keeps them
        average = {n.removeprefix("ema_model."): t for n, t in average.items() if str(n).startswith("ema_model.")}
    averaged = {str(name).removeprefix("module."): tensor for name, tensor in average.items()}
    if not _is_state(average) or not averaged.keys() <= state.keys():
        raise CheckpointError(f"{path}: its averaged weights are not those of its model")
    raw = [name for name in _trained(state) if name not in averaged]
    if raw:
        raise CheckpointError(f"{path}: averages of {len(averaged)} tensors alone, '{raw[0]}' and others have none")
    return {**state, **averaged}


def _parts(path: Path, content: Any) -> tuple[Any, Any]:
    """The model's state and its averages, {} without any."""
    if isinstance(content, list | tuple) and content:
        return content[0], content[-1] if len(content) > 4 else {}
    if not isinstance(content, dict) or _is_state(content):
        return content, {}
    found = {
        n: {"shadow_params": v} if isinstance(v, list | tuple) else v for n, v in content.items() if _averages(n, v)
    }
    if len(found) > 1:
        raise CheckpointError(f"{path}: several averages ({', '.join(map(str, found))}): keep the one that is meant")
    average = next(iter(found.values()), {})
    named = [name for name in MODEL if name in content]
    if not named and found:  # averages alone
        return average, {}
    return content[named[0]] if named else content, average


def _averages(name: Any, value: Any) -> bool:
    return AVERAGES.search(str(name)) is not None and isinstance(value, dict | list | tuple)


def _is_state(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and len(content) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    )


def _trained(state: dict[str, Tensor]) -> list[str]:
    """Names of the parameters, without what a state keeps beside them: noise levels and Fourier frequencies."""
    return [n for n, t in state.items() if n != "sigmas" and not (n.endswith(".W") and t.dim() == 1)]


def _in_order(path: Path, state: dict[str, Tensor], averages: Any) -> dict[str, Tensor]:
    """Averages by name; they are of the trained parameters in the model's order."""
    trained = _trained(state)
    shapes = [tuple(getattr(t, "shape", ())) for t in averages] if isinstance(averages, list) else []
    if shapes != [tuple(state[name].shape) for name in trained]:
        found, expected = len(shapes), len(trained)
        raise CheckpointError(f"{path}: its {found} averaged weights are not the {expected} parameters of its model")
    return dict(zip(trained, averages, strict=True))
