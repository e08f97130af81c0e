"""Pipelines of diffusers: ``google/ddpm-cifar10-32``, ``google/ddpm-ema-celebahq-256`` (``church``, ``bedroom``)."""

import hashlib
import inspect
import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.networks.checkpoint import CheckpointError, sha256
from benchmark.networks.published.denoisers import DiscreteEpsilonDenoiser

SCHEDULERS = (
    *("DDPM", "DDIM", "PNDM", "LMSDiscrete", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete"),
    *("DEISMultistep", "DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep"),
)
"""Schedulers (without the word) that add noise as DDPM does; how they sample is up to the suite's own samplers."""
BETAS = ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps", "trained_betas", "prediction_type")
"""What a scheduler's configuration says of the noise that a network was trained on."""
UNUSED = {"rescale_betas_zero_snr": False, "use_flow_sigmas": False}
"""Settings that would change the noise, and the only values that are supported."""
MOST_STEPS = 100_000


class Sample(nn.Module):
    """A network of diffusers without its output class: ``(x, t) -> ε``."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.network(x, t).sample


def require_diffusers(source: str | os.PathLike[str]) -> Any:
    """The package diffusers.

    Raises:
        CheckpointError: it is not installed; ``source`` is what needs it.
    """
    try:
        import diffusers
    except ImportError:
        raise CheckpointError(f"{source}: needs diffusers: pip install 'dpmot-bench[oracles]'") from None
    return diffusers


def hub_folder(name: str) -> Path:
    """A pipeline's files of the hub in the local cache, downloaded where they are not there or have changed.

    Raises:
        CheckpointError: they can't be had (one line).
    """
    require_diffusers(name)
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors"]))
        if not any(folder.rglob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.bin"]))
    except Exception as error:  # the library raises many kinds: no network, no such model, no permission, disk full
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{name}: can't be had from the hub ({reason})") from None
    return folder


def _located(source: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Folder of the network and file of the scheduler; they are in folders of their own or side by side.

    Where training kept averages beside the raw weights, as diffusers' scripts do, the averages are taken.
    """
    root = Path(source)
    for name in ("unet_ema", "unet"):
        if (root / name).is_dir():
            return root / name, root / "scheduler" / "scheduler_config.json"
    return root, root / "scheduler_config.json"


def pipeline_hash(source: str | os.PathLike[str]) -> str:
    """SHA-256 of the files that :func:`load_diffusers` reads, by name and content.

    Raises:
        CheckpointError: there are no weights among them.
    """
    folder, scheduler = _located(source)
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    if not weights:
        raise CheckpointError(f"{source}: holds no weights")
    digest = hashlib.sha256()
    for file in (*weights, folder / "config.json", scheduler):
        digest.update(f"{file.name} {sha256(file) if file.exists() else 'absent'}\n".encode())
    return digest.hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: not there; expected the folder of a diffusers pipeline") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged ({error})") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: damaged (no JSON object)")
    return content


def _trained_on(path: Path, diffusers: Any) -> dict[str, Any]:
    """What the scheduler's file says of the noise, completed by the defaults of its class in diffusers.

    Raises:
        CheckpointError: a class or a setting that is not supported.
    """
    config = _read_json(path)
    name = config.get("_class_name", "DDPMScheduler")
    if str(name).removesuffix("Scheduler") not in SCHEDULERS:
        raise CheckpointError(f"{path}: '{name}' is not supported: one of {', '.join(SCHEDULERS)} (Scheduler)")
    for key, supported in UNUSED.items():
        if config.get(key, supported) != supported:
            raise CheckpointError(f"{path}: {key}={config[key]} is not supported, only {supported}")
    known = inspect.signature(getattr(diffusers, name).__init__).parameters
    found = {key: config.get(key, known[key].default) for key in BETAS if key in known}
    if found["prediction_type"] != "epsilon":
        raise CheckpointError(f"{path}: predicts '{found['prediction_type']}', expected epsilon")
    return found


def _alphas_cumprod(path: Path, config: dict[str, Any]) -> Tensor:
    """ᾱ of what `_trained_on` says, float64 ``[T]`` (diffusers' own are float32).

    Raises:
        CheckpointError: a schedule that is not supported, or numbers that make none.
    """
    start, end, steps = config["beta_start"], config["beta_end"], config["num_train_timesteps"]
    schedule = config["beta_schedule"]
    try:
        if config["trained_betas"] is not None:
            betas = torch.tensor(config["trained_betas"], dtype=torch.float64)
        elif isinstance(steps, bool) or not 2 <= int(steps) == steps <= MOST_STEPS:
            raise ValueError(f"num_train_timesteps={steps}, expected 2 to {MOST_STEPS}")
        elif schedule == "linear":
            betas = torch.linspace(start, end, steps, dtype=torch.float64)
        elif schedule == "scaled_linear":
            betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
        elif schedule == "squaredcos_cap_v2":
            betas = _cosine_betas(steps)
        else:
            raise ValueError(f"beta schedule '{schedule}' is not supported: linear, scaled_linear or squaredcos_cap_v2")
        if betas.dim() != 1 or len(betas) < 2 or not ((betas > 0) & (betas < 1)).all():
            raise ValueError("betas must be two or more numbers above 0 and below 1")
    except ValueError as error:
        raise CheckpointError(f"{path}: {str(error).splitlines()[0]}") from None
    except (TypeError, RuntimeError):
        raise CheckpointError(f"{path}: what it says of betas are no numbers") from None
    return (1 - betas).cumprod(0)


def _cosine_betas(steps: int) -> Tensor:
    """β of Nichol & Dhariwal 2021, eq. 17: ᾱ(t) ∝ cos²((t + 0.008)/1.008·π/2), β at most 0.999."""
    time = torch.arange(steps + 1, dtype=torch.float64) / steps
    alphas = ((time + 0.008) / 1.008 * math.pi / 2).cos() ** 2
    return (1 - alphas[1:] / alphas[:-1]).clamp(max=0.999)


def _check_network(path: Path, shape: tuple[int, ...] | None, any_size: bool) -> None:
    """Raise CheckpointError where the network's configuration says that it cannot denoise images of this shape."""
    config = _read_json(path)
    if (name := config.get("_class_name", "UNet2DModel")) != "UNet2DModel":
        raise CheckpointError(f"{path}: network '{name}' is not supported: UNet2DModel")
    if config.get("num_class_embeds") or config.get("class_embed_type"):
        raise CheckpointError(f"{path}: conditional on classes; only unconditional networks are supported")
    takes, gives = config.get("in_channels", 3), config.get("out_channels", 3)
    if gives == 2 * takes:
        raise CheckpointError(f"{path}: predicts variances too ({gives} channels of {takes}); only noise is supported")
    size = config.get("sample_size")
    sides: Any = tuple(size) if isinstance(size, list) else (size, size)
    check_shape(path, shape, takes, sides if size else None, any_size)


def check_shape(
    path: Path, shape: tuple[int, ...] | None, channels: int, size: tuple[int, int] | None, any_size: bool = False
) -> None:
    """Raise CheckpointError where a network is for images of other channels, or of another size.

    Args:
        shape: of the images, (C, H, W); None where any will do.
        channels, size: of the images that the network was made for; None where it does not say.
        any_size: whether the user asked for it whatever its size.
    """
    if shape is None:
        return
    if channels != shape[0]:
        raise CheckpointError(f"{path}: a network for images of {channels} channels, these have {shape[0]}")
    if size and tuple(size) != shape[1:] and not any_size:
        sizes = ["×".join(map(str, pair)) for pair in (size, shape[1:])]
        raise CheckpointError(
            f"{path}: a network for {sizes[0]} pixels, these images have {sizes[1]}; #any-size uses it"
        )


def check_pipeline(
    source: str | os.PathLike[str], shape: tuple[int, ...] | None = None, any_size: bool = False
) -> Tensor:
    """Give ᾱ of the chain that a pipeline was trained on, float64 ``[T]``; its weights are not read.

    Raises:
        CheckpointError: as `load_diffusers`, for what the settings tell.
    """
    diffusers = require_diffusers(source)
    folder, scheduler = _located(source)
    _check_network(folder / "config.json", shape, any_size)
    return _alphas_cumprod(scheduler, _trained_on(scheduler, diffusers))


def load_diffusers(
    source: str | os.PathLike[str], shape: tuple[int, ...] | None = None, any_size: bool = False
) -> DiscreteEpsilonDenoiser:
    """The denoiser of an unconditional diffusers pipeline (``UNet2DModel`` and a scheduler of :data:`SCHEDULERS`).

    Args:
        source: a folder that the pipeline was saved in, its parts in folders or side by side.
        shape: of the images, (C, H, W), to refuse a network for others before it is loaded.
        any_size: take a network for another size.

    Raises:
        CheckpointError: not such a pipeline, damaged, or diffusers is not installed (one line).
    """
    alphas = check_pipeline(source, shape, any_size)
    try:
        network = require_diffusers(source).UNet2DModel.from_pretrained(_located(source)[0])
    except Exception as error:  # the library raises many kinds, for what is always an unusable source
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{source}: no usable diffusers pipeline ({reason})") from None
    return DiscreteEpsilonDenoiser(Sample(network), alphas).eval().requires_grad_(False)
