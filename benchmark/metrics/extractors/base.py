"""What a feature extractor is, where its weights lie, and the registry of all of them."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmark.data.pixels import from_pixels
from benchmark.metrics.base import MetricError
from benchmark.metrics.estimation.arithmetic import true_float32
from benchmark.networks.checkpoint import CheckpointError, load_tensors
from samplers.plugins import Registry, plug_in_of

Activations = tuple[Tensor, Tensor | None]


@dataclass(frozen=True, eq=False)
class Extractor:
    """A frozen network that turns images into features, and into class logits where it is a classifier.

    Attributes:
        name: as asked for; enters the names of metrics.
        sha256: of its weights (`state_hash`).
        resize: how images are brought to the network's size.
        dim: number of features D.
        activations: float images [B, C, H, W] in [−1, 1] -> features [B, D] and logits or None, both float32. A network
            of bytes rounds them by `to_pixels`.
        device: where the network is.
        fid: whether these are the Inception features and weights of FID.
        classes_of: the data set whose labels the logits are of, in their order; empty where they are of another.
    """

    name: str
    sha256: str
    resize: str
    dim: int
    activations: Callable[[Tensor], Activations]
    device: torch.device
    fid: bool = False
    classes_of: str = ""

    @torch.no_grad()
    def both(self, images: Tensor) -> Activations:
        """Features [B, D] and logits (or None) of images [B, C, H, W]: bytes, or floats in [−1, 1]."""
        if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
            raise ValueError(
                f"an extractor takes bytes or floats [B, C, H, W], got {images.dtype} {list(images.shape)}"
            )
        x = images.to(self.device)
        with true_float32():
            features, logits = self.activations(from_pixels(x) if x.dtype == torch.uint8 else x.float())
        return features.float(), None if logits is None else logits.float()

    def __call__(self, images: Tensor) -> Tensor:
        """Features [B, D], float32, of images [B, C, H, W] as in `both`."""
        return self.both(images)[0]

    def posterior(self, images: Tensor) -> Tensor:
        """Class probabilities [B, C] of images as in `both`, by a network that has logits."""
        logits = self.both(images)[1]
        if logits is None:
            raise MetricError(f"'{self.name}' has no class logits")
        return logits.softmax(1)

    def describe(self) -> dict[str, Any]:
        """What identifies the features: for records and for the keys of cached statistics."""
        return {"extractor": self.name, "sha256": self.sha256, "resize": self.resize}


Load = Callable[[str, Path | None, torch.device], Extractor]
"""load(name as asked for, file of weights or None for the usual place, device) -> the extractor."""


@dataclass(frozen=True)
class Loader:
    """How extractors of a name are made: a line about them, and the function that loads one.

    `family` says that the name stands for many, asked for as `name:MEMBER`.
    """

    name: str
    summary: str
    load: Load
    family: bool = False


def _add(loader: Loader) -> Loader:
    EXTRACTORS.add(loader.name, loader, loader.load)
    return loader


EXTRACTORS: Registry[Loader] = Registry(
    "extractor", "benchmark.metrics.extractors", "dpmot_bench.extractors", plug_in_of(Loader, _add)
)
"""Every file of this folder that declares one, and entry points of other packages."""


def extractor(name: str, summary: str, family: bool = False) -> Callable[[Load], Loader]:
    """Make the decorated function known as what loads the extractor `name`; see `Loader`."""

    def declare(load: Load) -> Loader:
        return _add(Loader(name, summary, load, family))

    return declare


def weights_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Where weights that are not ours lie: `root`, else `$DPMOT_WEIGHTS`, else `~/.cache/dpmot/weights`."""
    return Path(root or os.environ.get("DPMOT_WEIGHTS") or Path.home() / ".cache" / "dpmot" / "weights").expanduser()


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a network from a safetensors file, whose batch norms need not carry their counters.

    Raises:
        MetricError: the weights are not there, or not these.
    """
    counters = {k: v for k, v in network.state_dict().items() if k.endswith("num_batches_tracked")}  # unused
    try:
        load_tensors(path, network, {**counters, **load_file(path)})
    except (OSError, SafetensorError) as error:
        reason = "damaged" if path.exists() else "not there: give the folder of such weights by DPMOT_WEIGHTS"
        raise MetricError(f"{path}: {reason}") from error
    except CheckpointError as error:
        raise MetricError(str(error)) from None


def state_hash(network: nn.Module) -> str:
    """SHA-256 of a network's tensors (names, types, shapes, bytes), whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
