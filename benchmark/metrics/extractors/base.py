"""What a feature extractor is, and how its name enters the names of metrics."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.metrics.estimation.arithmetic import true_float32

Activations = tuple[Tensor, Tensor | None]


@dataclass(frozen=True, eq=False)
class Extractor:
    """A frozen network that turns images into features, and into class logits where it is a classifier.

    Attributes:
        name: as asked for; enters the names of metrics.
        sha256: of its weights (`state_hash`).
        resize: how images are brought to the network's size.
        dim: number of features D.
        activations: uint8 [B, 3, H, W] -> features [B, D] and logits [B, C] or None, both float32.
        device: where the network is.
        fid: whether these are the Inception features and weights of FID.
    """

    name: str
    sha256: str
    resize: str
    dim: int
    activations: Callable[[Tensor], Activations]
    device: torch.device
    fid: bool = False

    @torch.no_grad()
    def both(self, images: Tensor) -> Activations:
        """Features [B, D] and logits [B, C] (None where there are none) of uint8 images [B, 3, H, W]."""
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"an extractor takes uint8 [B, 3, H, W], got {images.dtype} {list(images.shape)}")
        with true_float32():
            features, logits = self.activations(images.to(self.device))
        return features.float(), None if logits is None else logits.float()

    def __call__(self, images: Tensor) -> Tensor:
        """Features [B, D], float32, of uint8 images [B, 3, H, W]."""
        return self.both(images)[0]

    def describe(self) -> dict[str, Any]:
        """What identifies the features: for records and for the keys of cached statistics."""
        return {"extractor": self.name, "sha256": self.sha256, "resize": self.resize}


CUSTOMARY = {"fd": "fid", "kd": "kid", "is": "is", "fd_infinity": "fid_infinity", "kd_subsets": "kid_subsets"}


def value_name(metric: str, extractor: Extractor) -> str:
    """`fid`, `kid`, `is` with the features of FID; else the metric with the extractor's name: `fd[mobilenet_v2]`."""
    return CUSTOMARY.get(metric, metric) if extractor.fid else f"{metric}[{extractor.name}]"


def state_hash(network: nn.Module) -> str:
    """SHA-256 of a network's tensors (names, types, shapes, bytes), whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
