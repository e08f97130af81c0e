"""The libraries that published checkpoints come from, where ``$DPMOT_ORACLES`` is a folder with clones of them.

Clones are named ``ddim`` (ermongroup), ``edm`` (NVlabs), ``score_sde_pytorch`` (yang-song) and ``ncsnv2`` (ermongroup).
With ``$DPMOT_ORACLES_FULL`` networks of the published sizes are compared too.
"""

import contextlib
import importlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

ROOT = os.environ.get("DPMOT_ORACLES")
FULL = os.environ.get("DPMOT_ORACLES_FULL")


def sizes(cases):
    """The small cases, and the published sizes, slow on a CPU, if they are asked for."""
    slow = pytest.mark.skipif(FULL is None, reason="slow on a CPU: set DPMOT_ORACLES_FULL for the published sizes")
    return [pytest.param(name, marks=() if name.startswith("small") else slow) for name in cases]


@contextlib.contextmanager
def original(repository):
    """Import from a clone; its top-level packages are forgotten afterwards, for several clones use the same names."""
    folder = Path(ROOT or ".") / repository
    if not folder.is_dir():
        pytest.skip(f"no clone of {repository} in DPMOT_ORACLES")
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(folder))
        ours = {name for name in set(sys.modules) - before if "." not in name and _is_in(sys.modules[name], folder)}
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in ours:
                del sys.modules[name]


def _is_in(module, folder):
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", [])]
    return any(str(place).startswith(str(folder)) for place in places if place)


def spaces(**nested):
    """Nested dictionaries as the attributes that the originals' configurations are."""
    return SimpleNamespace(**{k: spaces(**v) if isinstance(v, dict) else v for k, v in nested.items()})


@torch.no_grad()
def shaken(network, seed=0):
    """The network with every trained parameter moved: many start at zero, where a wrong order would not show."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in filter(lambda p: p.requires_grad, network.parameters()):
        parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.03)
    return network.eval()


def cast(network, dtype):
    """The original in ``dtype``; their time embeddings stay float32 and have to be cast where the network begins."""
    for module in network.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda module, x: (x[0].to(module.weight.dtype),))
    return network.to(dtype)


def noisy(batch, side, sigma):
    generator = torch.Generator().manual_seed(1)
    x0 = torch.rand(batch, 3, side, side, generator=generator) * 2 - 1
    return (x0 + sigma * torch.randn(x0.shape, generator=generator)).double()
