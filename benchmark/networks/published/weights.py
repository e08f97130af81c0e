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
    (``{model, ema: {shadow_params: averages in the order of the parameters}, ...}``) and plain ``{name: tensor}``.

    Raises:
        CheckpointError: damaged, foreign, or averages that don't fit the model.
    """
    content = read_torch_file(path)
    if isinstance(content, list | tuple) and content:
        model, average = content[0], content[-1] if len(content) > 4 else {}
    elif isinstance(content, dict) and "model" in content:
        model, average = content["model"], content.get("ema", {})
    else:
        model, average = content, {}
    if not _is_state(model) or not isinstance(average, dict):
        raise CheckpointError(f"{path}: no training state or state dictionary that is known")
    state = {name.removeprefix("module."): tensor for name, tensor in model.items()}
    if "shadow_params" in average:
        average = _in_order(path, state, average["shadow_params"])
    if not average:
        return state
    if not _is_state(average) or not {name.removeprefix("module.") for name in average} <= state.keys():
        raise CheckpointError(f"{path}: its averaged weights are not those of its model")
    return {**state, **{name.removeprefix("module."): tensor for name, tensor in average.items()}}


def _is_state(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and len(content) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    )


def _in_order(path: Path, state: dict[str, Tensor], averages: Any) -> dict[str, Tensor]:
    """Averages by name. They are of the trained parameters in the model's order: no levels, no Fourier frequencies."""
    trained = [name for name, t in state.items() if name != "sigmas" and not (name.endswith(".W") and t.dim() == 1)]
    shapes = [tuple(getattr(t, "shape", ())) for t in averages] if isinstance(averages, list) else []
    if shapes != [tuple(state[name].shape) for name in trained]:
        found, expected = len(shapes), len(trained)
        raise CheckpointError(f"{path}: its {found} averaged weights are not the {expected} parameters of its model")
    return dict(zip(trained, averages, strict=True))
