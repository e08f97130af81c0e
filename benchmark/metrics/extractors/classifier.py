"""The classifiers that this project trained, a small one for each problem that has classes."""

from pathlib import Path

import torch
from torch import Tensor

from benchmark.metrics.base import MetricError
from benchmark.metrics.extractors.base import Activations, Extractor, extractor, state_hash
from benchmark.networks.checkpoint import SHIPPED, CheckpointError, load_classifier


def checkpoint(problem: str) -> Path:
    """Where the classifier of a problem lies, whether there is one or not."""
    return SHIPPED / problem / "classifier.safetensors"


@extractor("classifier", "the small classifier of a problem that is shipped with one (digits, cifar10)", family=True)
def load(name: str, weights: Path | None, device: torch.device) -> Extractor:
    """`classifier:PROBLEM`: features are the last layer's input; images are taken at the problem's size."""
    problem = name.partition(":")[2]
    path = weights or checkpoint(problem)
    if not path.is_file():
        raise MetricError(f"no classifier is shipped for '{problem}': train one, or choose another extractor")
    try:
        network = load_classifier(path, device)
    except CheckpointError as error:
        raise MetricError(str(error)) from None

    def activations(images: Tensor) -> Activations:
        features = network.features(images)
        return features, network.head(features)

    width = network.head.in_features
    return Extractor(name, state_hash(network), "none", width, activations, device, classes_of=problem)
