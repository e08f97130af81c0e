"""Feature extractors of torch-fidelity: the Inception of FID, DINOv2, and whatever a user registers there."""

from pathlib import Path

import torch
from torch import Tensor

from benchmark.data.pixels import to_pixels
from benchmark.metrics.base import MetricError
from benchmark.metrics.extractors.base import Activations, Extractor, extractor, state_hash
from benchmark.records.hashes import file_sha256

INCEPTION = "inception-v3-compat"
FID_WEIGHTS = "6726825d"  # the SHA-256 of torch-fidelity's file of the original weights begins so, as its name says
ALIASES = {"inception": INCEPTION, "dinov2": "dinov2-vit-l-14"}


def load(name: str, weights: Path | None, device: torch.device) -> Extractor:
    """`inception`, `dinov2`, or `torch-fidelity:NAME` for any extractor registered with torch-fidelity.

    Features are the extractor's own choice for FID, logits its choice for the Inception score if that differs.
    """
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY as KNOWN
    from torch_fidelity.utils import create_feature_extractor

    theirs = ALIASES.get(name, name.removeprefix("torch-fidelity:"))
    if theirs not in KNOWN:
        raise MetricError(f"torch-fidelity has no extractor '{theirs}': it has {', '.join(KNOWN)}")
    layer, scores = (_layer(KNOWN[theirs], metric) for metric in ("fid", "isc"))
    layers = [layer] if scores in (None, layer) else [layer, scores]
    try:
        path = str(weights) if weights else None
        network = create_feature_extractor(
            theirs, layers, cuda=False, feature_extractor_weights_path=path, verbose=False
        )
    except Exception as error:  # each extractor fails in its own way: URLError, RuntimeError, pickle's errors
        raise MetricError(
            f"weights of '{name}' could not be loaded ({_one_line(error)}): give them by --weights"
        ) from error
    network.to(device)

    def activations(images: Tensor) -> Activations:
        found = dict(zip(layers, network(to_pixels(images)), strict=True))
        return found[layer], found.get(scores) if scores != layer else None

    dim = network(torch.zeros(1, 3, 32, 32, dtype=torch.uint8, device=device))[0].shape[1]
    digest = state_hash(network)
    original = theirs == INCEPTION and (weights is None or _is_original(weights))
    return Extractor(
        name=name if original or theirs != INCEPTION else f"{name}:{digest[:8]}",
        sha256=digest,
        resize="torch-fidelity's own",
        dim=dim,
        activations=activations,
        device=device,
        fid=original,
    )


extractor("inception", "the Inception of FID, by torch-fidelity")(load)
extractor("dinov2", "DINOv2 ViT-L/14, from the hub, by torch-fidelity")(load)
extractor("torch-fidelity", "any that is registered with torch-fidelity", family=True)(load)


def _layer(cls: type, metric: str) -> str | None:
    try:
        return cls.get_default_feature_layer_for_metric(metric)  # type: ignore[attr-defined]
    except KeyError:
        return None


def _is_original(weights: Path) -> bool:
    return file_sha256(weights).startswith(FID_WEIGHTS)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:120]
