"""Published denoisers, adapted once to ``denoiser(x, sigma) -> x0_hat`` with x = x0 + σ·n, images in [−1, 1].

Read are our own checkpoints, pipelines of diffusers, and the files of DDIM, EDM, ScoreSDE and NCSNv2. What a file is
follows from what it holds, its architecture from its tensors; code that a file carries is never run.
"""

import os
from pathlib import Path

import torch
from torch import nn

from benchmark.networks.checkpoint import CheckpointError, load_denoiser, sha256
from benchmark.networks.published import ddpm, ncsnv2, score_sde
from benchmark.networks.published.denoisers import DiscreteEpsilonDenoiser, Preconditioned
from benchmark.networks.published.edm import load_edm
from benchmark.networks.published.pipeline import check_pipeline, check_shape, hub_folder, load_diffusers, pipeline_hash
from benchmark.networks.published.weights import LEGACY, ZIP, read_weights
from benchmark.networks.replay import ReplayedDenoiser

__all__ = [
    "DiscreteEpsilonDenoiser",
    "check_denoiser",
    "check_source",
    "denoiser_hash",
    "load_diffusers",
    "open_denoiser",
]


PICKLE = b"\x80"
"""How a pickle of protocol 2 or later begins."""
ANY_SIZE = "any-size"
"""The mark of a source whose network is to be taken though it was made for images of another size."""


def open_denoiser(
    source: str | os.PathLike[str], device: torch.device | str = "cpu", shape: tuple[int, ...] | None = None
) -> nn.Module:
    """A denoiser from a file, a folder with a diffusers pipeline, or a name on the hub.

    Args:
        source: ``FILE#process`` says in which process a network of ScoreSDE was trained, where its tensors don't:
            ``vp``, ``subvp``, ``ve`` or ``vp-discrete``. ``#any-size`` takes a network for images of another size.
        shape: of the images, (C, H, W): a network that was made for others is refused.

    Raises:
        CheckpointError: it can't be used (one line).
    """
    path, process, any_size = _located(source)
    if not path.is_file():
        return load_diffusers(path, shape, any_size).to(device)
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    if not head.startswith((ZIP, LEGACY, PICKLE)) and not process:
        own = load_denoiser(path, device)
        check_shape(path, shape, own.network.config.image_channels, None)
        return ReplayedDenoiser(own)
    try:
        denoiser = _published(path, head, process)
    except (KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:  # what no reader foresaw
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path}: not whole, or of another architecture ({reason})") from None
    check_shape(path, shape, denoiser.image_channels, denoiser.image_size, any_size)
    return denoiser.to(device)


def _split(source: str | os.PathLike[str]) -> tuple[Path, list[str]]:
    """Path, and the marks that stand behind a #, with commas between them."""
    path, _, marks = str(source).rpartition("#")
    return (Path(path), marks.split(",")) if path and not Path(source).exists() else (Path(source), [])


def _located(source: str | os.PathLike[str]) -> tuple[Path, str, bool]:
    """The file or folder on disk, which for a name on the hub is its copy there; the process; whether any size will do.

    The process is empty where none is stated.
    """
    check_source(source)
    path, marks = _split(source)
    process = next((mark for mark in marks if mark != ANY_SIZE), "")
    return path if path.exists() else hub_folder(str(path)), process, ANY_SIZE in marks


def _published(path: Path, head: bytes, process: str) -> Preconditioned:
    """The denoiser of a file that others wrote and that begins with ``head``."""
    state = read_weights(path) if head.startswith((ZIP, LEGACY)) else {}
    if any(name.startswith(score_sde.MARK) for name in state):
        return score_sde.load_score_sde(path, state, process)
    if process:
        raise CheckpointError(f"{path}: '#{process}' is for networks of ScoreSDE, and this is none")
    if ddpm.MARK in state:
        return ddpm.load_ddpm(path, state)
    if ncsnv2.MARK in state:
        return ncsnv2.load_ncsnv2(path, state)
    if state:
        raise CheckpointError(f"{path}: of no network that is known (its first tensor is '{next(iter(state))}')")
    return load_edm(path)


def check_source(source: str | os.PathLike[str]) -> None:
    """Raise CheckpointError where ``source`` is no file, no folder, and not like a name on the hub."""
    path, marks = _split(source)
    name = str(path)
    if not path.exists() and (path.suffix or name.count("/") != 1 or name.startswith("/")):
        raise CheckpointError(f"{source}: there is no such checkpoint, nor is it the name of a model on the hub")
    processes = [mark for mark in marks if mark != ANY_SIZE]
    if len(processes) > 1 or any(p not in score_sde.PROCESSES or not path.is_file() for p in processes):
        raise CheckpointError(f"{source}: expected FILE or FILE#process, of {', '.join(score_sde.PROCESSES)}")


def check_denoiser(source: str | os.PathLike[str], shape: tuple[int, ...]) -> None:
    """Refuse a pipeline that cannot denoise images of this shape, (C, H, W), by its settings, before any work.

    Raises:
        CheckpointError: as `open_denoiser`.
    """
    path, _, any_size = _located(source)
    if path.is_dir():
        check_pipeline(path, shape, any_size)


def denoiser_hash(source: str | os.PathLike[str]) -> str:
    """What identifies the denoiser at ``source``: SHA-256 of the file, or of all that is read of a pipeline's folder.

    Weights on the hub are fetched first: a name there may come to stand for others.

    Raises:
        CheckpointError: there are none to read.
    """
    path, process, _ = _located(source)
    if path.is_file():
        return sha256(path) + (f"#{process}" if process else "")
    return pipeline_hash(path)
