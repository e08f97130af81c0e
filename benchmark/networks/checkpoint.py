"""Checkpoints: safetensors files that say in their metadata what network they hold and how it was made.

A file holds the tensors of one network, and metadata (all strings): ``format``, ``architecture`` (a key of
:data:`ARCHITECTURES`), ``config`` (JSON of its configuration), ``problem``, ``command`` (what remakes it),
``images_seen``, and whatever else the trainer wants to state. Nothing in it is code, nothing is unpickled.

A network of more than :data:`PART` bytes is cut: the file holds its first tensors, and ``parts`` in the metadata names
the files beside it that hold the others, with their SHA-256. So the file's own hash stands for the whole network.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmark.networks.classifier import Classifier, ClassifierConfig
from benchmark.networks.unet import Denoiser, UNet, UNetConfig
from benchmark.records.files import replacing
from benchmark.records.hashes import file_sha256
from samplers.errors import UserError

FORMAT = "dpmot-bench/1"
PART = 58 * 2**20
"""Bytes of tensors in a file at most."""
SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints"
"""The checkpoints that come with the project, a folder for each problem."""
ARCHITECTURES: dict[str, tuple[type, type]] = {
    "unet": (UNetConfig, UNet),
    "classifier": (ClassifierConfig, Classifier),
}


class CheckpointError(UserError):
    """A checkpoint that can't be used; the message is one line for the user."""


def sha256(path: str | os.PathLike[str]) -> str:
    """Hex SHA-256 of a file.

    Raises:
        CheckpointError: it can't be read.
    """
    try:
        return file_sha256(Path(path))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None


def save_network(
    path: str | os.PathLike[str],
    network: nn.Module,
    tensors: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    **metadata: Any,
) -> None:
    """Write a network to ``path`` through a temporary file; floating-point tensors are stored as ``dtype``.

    Args:
        network: a :class:`UNet` or :class:`Classifier`.
        tensors: stored in the place of the network's own state (an average of weights, say).
        metadata: stored beside the architecture; what is no string is stored as JSON.

    Raises:
        CheckpointError: the file can't be written, or the network is of no known architecture.
    """
    kind = next((name for name, (_, cls) in ARCHITECTURES.items() if type(network) is cls), None)
    if kind is None:
        raise CheckpointError(f"{path}: {type(network).__name__} is no architecture that checkpoints know")
    config: Any = network.config
    state = {
        name: (t.to(dtype) if t.is_floating_point() else t).detach().cpu().contiguous()
        for name, t in (tensors or network.state_dict()).items()
    }
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    header = {"format": FORMAT, "architecture": kind, "config": json.dumps(asdict(config)), **texts}
    path = Path(path)
    first, *others = cut(state, PART)
    hashes = {}
    for number, tensors in enumerate(others, 2):
        part = path.with_name(f"{path.stem}.part{number}{path.suffix}")
        _write(part, tensors, {})
        hashes[part.name] = sha256(part)
    _write(path, first, {**header, **({"parts": json.dumps(hashes)} if hashes else {})})


def cut(tensors: Mapping[str, Tensor], size: int) -> list[dict[str, Tensor]]:
    """The tensors in their order, in parts of at most ``size`` bytes, unless a single tensor is larger."""
    parts: list[dict[str, Tensor]] = [{}]
    room = size
    for name, tensor in tensors.items():
        if parts[-1] and tensor.nbytes > room:
            parts.append({})
            room = size
        parts[-1][name] = tensor
        room -= tensor.nbytes
    return parts


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write one safetensors file.

    Raises:
        CheckpointError: it cannot be written.
    """
    try:
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be written ({error})") from None


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a checkpoint of ours.

    Raises:
        CheckpointError: missing, damaged, or not written by :func:`save_network`.
    """
    path = Path(path)
    tensors, metadata = _read(path)
    if metadata.get("format") != FORMAT:
        stated = metadata.get("format", "none")
        raise CheckpointError(f"{path}: foreign checkpoint (format '{stated}', expected '{FORMAT}')")
    try:
        parts: dict[str, str] = dict(json.loads(metadata.get("parts", "{}")))
    except (TypeError, ValueError):
        raise CheckpointError(f"{path}: damaged (its parts are not named)") from None
    for name, expected in parts.items():
        part = path.with_name(Path(name).name)
        if sha256(part) != expected:
            raise CheckpointError(f"{part}: is not the part that {path.name} belongs with (SHA-256 differs)")
        tensors |= _read(part)[0]
    return tensors, metadata


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of one safetensors file.

    Raises:
        CheckpointError: missing or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        reason = "there is no such file" if not path.exists() else f"damaged or not safetensors ({error})"
        raise CheckpointError(f"{path}: {reason}") from None


def load_network(path: str | os.PathLike[str], architecture: str, sha256_expected: str | None = None) -> nn.Module:
    """The float32 network of a checkpoint, in evaluation mode, without gradients.

    Args:
        architecture: what the file must hold, a key of :data:`ARCHITECTURES`.
        sha256_expected: refuse the file if its hash is another.

    Raises:
        CheckpointError: with one line that says what is wrong.
    """
    tensors, metadata = read_checkpoint(path)
    if sha256_expected is not None and (found := sha256(path)) != sha256_expected:
        raise CheckpointError(f"{path}: SHA-256 is {found[:16]}…, expected {sha256_expected[:16]}…")
    if metadata.get("architecture") != architecture:
        raise CheckpointError(f"{path}: holds a '{metadata.get('architecture')}', expected a '{architecture}'")
    config_class, network_class = ARCHITECTURES[architecture]
    try:
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(metadata["config"]).items()}
        network = network_class(config_class(**values))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        known = ", ".join(field.name for field in fields(config_class))
        raise CheckpointError(f"{path}: bad configuration ({error}); known: {known}") from None
    load_tensors(path, network, tensors)
    return network.eval().requires_grad_(False)


def load_tensors(path: str | os.PathLike[str], network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy ``tensors`` into ``network`` if names and shapes agree exactly; ``path`` is for the message.

    Raises:
        CheckpointError: naming the first tensor that is missing, left over, of another shape, or not finite.
    """
    state = network.state_dict()
    for complaint, names in (("lacks", state.keys() - tensors.keys()), ("has unknown", tensors.keys() - state.keys())):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(f"{path}: {complaint} tensor '{min(names)}'{more}")
    for name, tensor in tensors.items():
        if tensor.shape != state[name].shape:
            found, expected = tuple(tensor.shape), tuple(state[name].shape)
            raise CheckpointError(f"{path}: tensor '{name}' has shape {found}, expected {expected}")
        if not tensor.isfinite().all():
            raise CheckpointError(f"{path}: tensor '{name}' has values that are not finite")
    network.load_state_dict(dict(tensors))


def load_denoiser(
    path: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    sha256_expected: str | None = None,
    compute_dtype: torch.dtype | None = None,
) -> Denoiser:
    """The denoiser of a checkpoint: ``denoiser(x, sigma) -> x0_hat``.

    It computes in bfloat16 on CUDA and float32 elsewhere, unless ``compute_dtype`` says otherwise.

    Raises:
        CheckpointError: with one line that says what is wrong.
    """
    network = load_network(path, "unet", sha256_expected)
    assert isinstance(network, UNet)
    default = torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32
    return Denoiser(network, compute_dtype or default).to(device).eval()


def load_classifier(
    path: str | os.PathLike[str], device: torch.device | str = "cpu", sha256_expected: str | None = None
) -> Classifier:
    """The classifier of a checkpoint: ``.posterior(x)`` and ``.features(x)``.

    Raises:
        CheckpointError: with one line that says what is wrong.
    """
    network = load_network(path, "classifier", sha256_expected)
    assert isinstance(network, Classifier)
    return network.to(device)
