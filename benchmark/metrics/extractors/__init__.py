"""Feature extractors by name, imported only when asked for."""

import difflib
import importlib
from pathlib import Path

import torch

from benchmark.metrics.base import MetricError
from benchmark.metrics.extractors.base import Extractor, value_name

EXTRACTORS = {
    "inception": ("fidelity", "the Inception of FID, by torch-fidelity"),
    "clean-inception": ("clean", "the Inception of FID with clean-fid's resizing"),
    "mobilenet_v2": ("mobilenet", "MobileNetV2, ImageNet"),
    "dinov2": ("fidelity", "DINOv2 ViT-L/14, from the hub, by torch-fidelity"),
    **{f"cifar10_resnet{n}": ("cifar_resnet", f"ResNet-{n} for CIFAR-10: classifier") for n in (20, 32, 44, 56)},
}


def make_extractor(name: str, weights: Path | None = None, device: torch.device | str = "cpu") -> Extractor:
    """The extractor `name`, or `torch-fidelity:NAME` for one registered by `torch_fidelity.register_feature_extractor`.

    Args:
        weights: a file to read instead of the usual place or download.

    Raises:
        MetricError: unknown name, a package that is missing, or weights that can't be had.
    """
    if name not in EXTRACTORS and not name.startswith("torch-fidelity:"):
        close = difflib.get_close_matches(name, EXTRACTORS, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"choose from {', '.join(EXTRACTORS)}, torch-fidelity:NAME"
        raise MetricError(f"unknown extractor '{name}': {hint}")
    if weights and not weights.is_file():
        raise MetricError(f"{weights}: no such file of weights")
    module = EXTRACTORS.get(name, ("fidelity",))[0]
    try:
        return importlib.import_module(f"{__name__}.{module}").load(name, weights, torch.device(device))
    except ImportError as error:
        raise MetricError(f"extractor '{name}' needs {error.name}: pip install 'dpmot-bench[images]'") from error


def best_available(device: torch.device | str = "cpu") -> tuple[Extractor, str]:
    """The Inception of FID where its weights can be had, else MobileNetV2; and a line that says what was done."""
    try:
        return make_extractor("inception", None, device), "features: the Inception of FID"
    except MetricError as error:
        extractor = make_extractor("mobilenet_v2", None, device)
        return extractor, f"no FID: {error}; instead: Fréchet distance in the features of {extractor.name}"


__all__ = ["EXTRACTORS", "Extractor", "best_available", "make_extractor", "value_name"]
