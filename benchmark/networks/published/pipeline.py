"""Pipelines of diffusers: ``google/ddpm-cifar10-32``, ``google/ddpm-ema-celebahq-256`` (``church``, ``bedroom``)."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.networks.checkpoint import CheckpointError
from benchmark.networks.published.denoisers import DiscreteEpsilonDenoiser, linear_alphas_cumprod


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


def _alphas_cumprod(config: dict[str, Any]) -> Tensor:
    """ᾱ of a diffusers scheduler's configuration, float64 ``[T]`` (its own are float32)."""
    start, end, steps = config["beta_start"], config["beta_end"], config["num_train_timesteps"]
    if config.get("trained_betas"):
        betas = torch.tensor(config["trained_betas"], dtype=torch.float64)
    elif config["beta_schedule"] == "linear":
        return linear_alphas_cumprod(start, end, steps)
    elif config["beta_schedule"] == "scaled_linear":
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    else:
        raise CheckpointError(f"beta schedule '{config['beta_schedule']}' is not supported: linear or scaled_linear")
    return (1 - betas).cumprod(0)


def load_diffusers(source: str | os.PathLike[str]) -> DiscreteEpsilonDenoiser:
    """The denoiser of an unconditional diffusers pipeline (``UNet2DModel`` and a DDPM or DDIM scheduler).

    Args:
        source: a folder that the pipeline was saved in, its parts in folders or side by side.

    Raises:
        CheckpointError: not such a pipeline, damaged, or diffusers is not installed (one line).
    """
    diffusers = require_diffusers(source)
    try:
        inside = (Path(source) / "unet").is_dir()
        network = diffusers.UNet2DModel.from_pretrained(source, **({"subfolder": "unet"} if inside else {}))
        config = diffusers.DDPMScheduler.load_config(source, **({"subfolder": "scheduler"} if inside else {}))
    except Exception as error:  # the library raises many kinds, for what is always an unusable source
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{source}: no usable diffusers pipeline ({reason})") from None
    if config.get("prediction_type", "epsilon") != "epsilon":
        raise CheckpointError(f"{source}: predicts '{config['prediction_type']}', expected epsilon")

    denoiser = DiscreteEpsilonDenoiser(Sample(network), _alphas_cumprod(dict(config)))
    return denoiser.eval().requires_grad_(False)
