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
from benchmark.networks.published.denoisers import DiscreteEpsilonDenoiser
from benchmark.networks.published.edm import load_edm
from benchmark.networks.published.pipeline import hub_folder, load_diffusers
from benchmark.networks.published.weights import LEGACY, ZIP, read_weights
from benchmark.networks.replay import ReplayedDenoiser

__all__ = ["DiscreteEpsilonDenoiser", "check_source", "denoiser_hash", "load_diffusers", "open_denoiser"]


PICKLE = b"\x80"
"""How a pickle of protocol 2 or later begins."""


def open_denoiser(source: str | os.PathLike[str], device: torch.device | str = "cpu") -> nn.Module:
    """A denoiser from a file, a folder with a diffusers pipeline, or a name on the hub.

    Args:
        source: ``FILE#process`` says in which process a network of ScoreSDE was trained, where its tensors don't:
            ``vp``, ``subvp``, ``ve`` or ``vp-discrete``.

    Raises:
        CheckpointError: it can't be used (one line).
    """
    path, process = _located(source)
    if not path.is_file():
        return load_diffusers(path).to(device)
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    if not head.startswith((ZIP, LEGACY, PICKLE)) and not process:
        return ReplayedDenoiser(load_denoiser(path, device))
    try:
        denoiser = _published(path, head, process)
    except (KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:  # what no reader foresaw
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path}: not whole, or of another architecture ({reason})") from None
    return denoiser.to(device)


def _split(source: str | os.PathLike[str]) -> tuple[Path, str]:
    """Path, and what stands behind a # (empty without one)."""
    path, _, process = str(source).rpartition("#")
    return (Path(path), process) if path and not Path(source).exists() else (Path(source), "")


def _located(source: str | os.PathLike[str]) -> tuple[Path, str]:
    """The file or folder on disk, which for a name on the hub is its copy there, and the process."""
    check_source(source)
    path, process = _split(source)
    return (path, process) if path.exists() else (hub_folder(str(path)), process)


def _published(path: Path, head: bytes, process: str) -> nn.Module:
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
    path, process = _split(source)
    name = str(path)
    if not path.exists() and (path.suffix or name.count("/") != 1 or name.startswith("/")):
        raise CheckpointError(f"{source}: there is no such checkpoint, nor is it the name of a model on the hub")
    if process and (process not in score_sde.PROCESSES or not path.is_file()):
        raise CheckpointError(f"{source}: expected FILE or FILE#process, of {', '.join(score_sde.PROCESSES)}")


def denoiser_hash(source: str | os.PathLike[str]) -> str:
    """What identifies the weights at ``source``: SHA-256 of the file, or of the weights' files in a folder.

    Weights on the hub are fetched first: a name there may come to stand for others.

    Raises:
        CheckpointError: there are none to read.
    """
    path, process = _located(source)
    if path.is_file():
        return sha256(path) + (f"#{process}" if process else "")
    files = sorted([*path.rglob("*.safetensors"), *path.rglob("*.bin"), *path.rglob("config.json")])
    if not files:
        raise CheckpointError(f"{source}: holds no weights")
    return "+".join(sha256(file)[:16] for file in files)
