"""Pickles of networks, as StyleGAN's and EDM's authors write them, read without running what they hold.

Such a pickle carries Python code, which `pickle.load` would run. Here every name that the file may call is one of the
few below, each answered by a function that only builds values; any other name ends the reading.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.networks.checkpoint import CheckpointError


class Inert:
    """In the place of an object of a pickled class: its attributes, and the name of its class; no behaviour."""

    class_name = ""

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute that the pickled object had."""
        return self.__dict__.get(name, default)

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Names and values of all parameters and buffers, as in the module's state dictionary."""
        for group in ("_parameters", "_buffers"):
            yield from ((prefix + k, v) for k, v in self.get(group, {}).items() if isinstance(v, Tensor))
        for name, module in self.get("_modules", {}).items():
            if isinstance(module, Inert):
                yield from module.tensors(f"{prefix}{name}.")


class _Number:
    """A numpy type, as the pickle of a numpy scalar describes it."""

    def __init__(self, code: str, *_: Any):
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.code = state[1].replace("|", "") + self.code


def _number(kind: _Number, content: bytes) -> Any:
    if kind.code.lstrip("<>")[:1] not in set("fiub"):
        raise pickle.UnpicklingError(f"a numpy scalar of type '{kind.code}'")
    return np.frombuffer(content, kind.code)[0].item()


def _storage(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    if min((offset, *size, *stride), default=0) < 0 or len(size) != len(stride):
        raise pickle.UnpicklingError("a tensor of negative size")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and (last + 1) * storage.dtype.itemsize > storage._untyped_storage.nbytes():
        raise pickle.UnpicklingError("a tensor larger than its storage")  # else memory that nobody wrote
    return torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage, offset, size, stride)


class _Reader(pickle.Unpickler):
    """Its answers are made anew for every file, so that no file can leave anything behind in them."""

    def __init__(self, file: io.BufferedIOBase):
        super().__init__(file)

        def persistent(meta: dict[str, Any]) -> Inert:
            found = Inert()
            found.__dict__.update(meta.get("state") or {}, class_name=meta["class_name"])
            return found

        def answer(function: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *arguments: function(*arguments)

        self.answers: dict[str, Any] = {
            "torch_utils.persistence._reconstruct_persistent_obj": persistent,
            "torch._utils._rebuild_parameter": lambda data, *_: data,
            "torch._utils._rebuild_tensor_v2": answer(_tensor),
            "torch.storage._load_from_bytes": answer(_storage),
            "numpy.core.multiarray.scalar": answer(_number),
            "numpy._core.multiarray.scalar": answer(_number),
            "numpy.dtype": answer(_Number),
            "collections.OrderedDict": OrderedDict,
            "dnnlib.util.EasyDict": type("EasyDict", (dict,), {}),
        }
        for container in ("ModuleDict", "ModuleList", "Sequential"):
            self.answers[f"torch.nn.modules.container.{container}"] = type(container, (Inert,), {})

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self.answers:
            raise _Refused(f"{module}.{name}")
        return self.answers[f"{module}.{name}"]


class _Refused(Exception):
    """The pickle names something that reading weights has no use for."""


def read_pickle(path: Path) -> Any:
    """What the pickle holds: plain values, tensors, and :class:`Inert` in the place of objects.

    Raises:
        CheckpointError: damaged, or it names anything that networks' weights and settings don't need.
    """
    try:
        with path.open("rb") as file:
            return _Reader(file).load()
    except _Refused as refused:
        raise CheckpointError(f"{path}: refused: it calls '{refused}', not tensors and settings alone") from None
    except Exception as error:  # a damaged pickle fails in any way
        raise CheckpointError(f"{path}: damaged or truncated ({type(error).__name__})") from None
