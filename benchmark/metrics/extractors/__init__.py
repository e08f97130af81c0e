"""Feature networks, one file each: for runs, for anyone's images and for training alike.

A file of this folder adds one; nothing else lists them. Their libraries are imported when one is loaded.
"""

from pathlib import Path

import torch

from benchmark.metrics.base import MetricError
from benchmark.metrics.extractors.base import EXTRACTORS, Extractor, Loader, extractor


def names() -> list[str]:
    """List what can be asked for; `classifier:PROBLEM` stands for one of many."""
    return [f"{name}:NAME" if entry.item.family else name for name, entry in EXTRACTORS.available().items()]


def find(name: str) -> Loader:
    """Find what loads the extractor `name`, and load nothing.

    Raises:
        UserError: there is none.
    """
    base, colon, _ = name.partition(":")
    known = EXTRACTORS.available()
    if colon and base in known and known[base].item.family:
        return known[base].item
    found = EXTRACTORS.lookup(name).item
    if found.family:
        raise MetricError(f"extractor '{name}' is one of many: give it as {name}:NAME")
    return found


def make_extractor(name: str, weights: Path | None = None, device: torch.device | str = "cpu") -> Extractor:
    """Load the extractor `name`.

    Args:
        weights: a file to read instead of the usual place or download.

    Raises:
        UserError: unknown name, a package that is missing, or weights that cannot be obtained.
    """
    loader = find(name)
    if weights and not weights.is_file():
        raise MetricError(f"{weights}: no such file of weights")
    try:
        return loader.load(name, weights, torch.device(device))
    except ImportError as error:
        raise MetricError(f"extractor '{name}' needs {error.name}: pip install 'dpmot-bench[images]'") from error


def best_available(device: torch.device | str = "cpu") -> tuple[Extractor, str]:
    """The Inception of FID where its weights can be had, else MobileNetV2; and a line that says what was done."""
    try:
        return make_extractor("inception", None, device), "features: the Inception of FID"
    except MetricError as error:
        stand_in = make_extractor("mobilenet_v2", None, device)
        return stand_in, f"no FID: {error}; instead: Fréchet distance in the features of {stand_in.name}"


__all__ = ["EXTRACTORS", "Extractor", "best_available", "extractor", "find", "make_extractor", "names"]
