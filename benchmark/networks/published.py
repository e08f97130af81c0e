"""Published denoisers, adapted once to ``denoiser(x, sigma) -> x0_hat`` with x = x0 + σ·n.

So far: unconditional ε-prediction pipelines of diffusers (``google/ddpm-cifar10-32``, ``google/ddpm-ema-celebahq-256``,
``-church-256``, ``-bedroom-256``), from the hub or from a folder. :func:`open_denoiser` also opens our own checkpoints.
"""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.networks.checkpoint import CheckpointError, load_denoiser, sha256


class DiscreteEpsilonDenoiser(nn.Module):
    """A network that predicts the noise of a variance-preserving chain of discrete steps (Ho et al. 2020).

    The chain's state at step t is √ᾱ_t·x0 + √(1 − ᾱ_t)·ε = √ᾱ_t·(x0 + σ_t·ε) with σ_t = √(1/ᾱ_t − 1). Between the
    steps t is interpolated linearly in log σ; the network's time embedding takes fractions. Beyond the ends t stays.

    Args:
        network: ``(x_vp [B, ...], t [B]) -> ε [B, ...]``.
        alphas_cumprod: ᾱ of all steps, float64, decreasing, ``[T]``.

    Attributes:
        sigma_min, sigma_max: the range that the network was trained on.
    """

    def __init__(self, network: nn.Module, alphas_cumprod: Tensor):
        super().__init__()
        self.network = network
        sigmas = (1 / alphas_cumprod.double() - 1).sqrt()
        self.log_sigmas = nn.Buffer(sigmas.log())
        self.sigma_min, self.sigma_max = float(sigmas[0]), float(sigmas[-1])

    def time(self, sigma: Tensor) -> Tensor:
        """The chain's step, in general between two whole ones, at which the noise level is ``sigma``; ``[M]``."""
        log_sigma = sigma.double().log().clamp(self.log_sigmas[0], self.log_sigmas[-1]).contiguous()
        upper = torch.searchsorted(self.log_sigmas, log_sigma).clamp(1, len(self.log_sigmas) - 1)
        below, above = self.log_sigmas[upper - 1], self.log_sigmas[upper]
        return upper - 1 + (log_sigma - below) / (above - below)

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1)
        level = sigma.view(-1, *[1] * (x.dim() - 1))
        dtype = next(self.network.parameters()).dtype
        epsilon = self.network((x / (1 + level**2).sqrt()).to(dtype), self.time(sigma).to(dtype).expand(len(x)))
        return x - level * epsilon.to(x.dtype)


def _beta_schedule(config: dict[str, Any]) -> Tensor:
    """ᾱ of a diffusers scheduler's configuration, float64 ``[T]`` (its own are float32)."""
    start, end, steps = config["beta_start"], config["beta_end"], config["num_train_timesteps"]
    if config.get("trained_betas"):
        betas = torch.tensor(config["trained_betas"], dtype=torch.float64)
    elif config["beta_schedule"] == "linear":
        betas = torch.linspace(start, end, steps, dtype=torch.float64)
    elif config["beta_schedule"] == "scaled_linear":
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    else:
        raise CheckpointError(f"beta schedule '{config['beta_schedule']}' is not supported: linear or scaled_linear")
    return (1 - betas).cumprod(0)


def load_diffusers(source: str | os.PathLike[str]) -> DiscreteEpsilonDenoiser:
    """The denoiser of an unconditional diffusers pipeline (``UNet2DModel`` and a DDPM or DDIM scheduler).

    Args:
        source: a folder that the pipeline was saved in, or its name on the hub.

    Raises:
        CheckpointError: not such a pipeline, damaged, or diffusers is not installed (one line).
    """
    try:
        from diffusers import DDPMScheduler, UNet2DModel
    except ImportError:
        raise CheckpointError(f"{source}: needs diffusers: pip install 'dpmot-bench[oracles]'") from None
    try:
        inside = (Path(source) / "unet").is_dir() or not Path(source).is_dir()
        network = UNet2DModel.from_pretrained(source, **({"subfolder": "unet"} if inside else {}))
        config = DDPMScheduler.load_config(source, **({"subfolder": "scheduler"} if inside else {}))
    except Exception as error:  # the library raises many kinds, for what is always an unusable source
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{source}: no usable diffusers pipeline ({reason})") from None
    if config.get("prediction_type", "epsilon") != "epsilon":
        raise CheckpointError(f"{source}: predicts '{config['prediction_type']}', expected epsilon")

    class Sample(nn.Module):
        """The network without its output class."""

        def __init__(self) -> None:
            super().__init__()
            self.unet = network

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.unet(x, t).sample

    return DiscreteEpsilonDenoiser(Sample(), _beta_schedule(dict(config))).eval().requires_grad_(False)


def open_denoiser(source: str | os.PathLike[str], device: torch.device | str = "cpu") -> nn.Module:
    """A denoiser from one of our checkpoints (a ``.safetensors`` file), a diffusers folder, or a name on the hub.

    Raises:
        CheckpointError: it can't be used (one line).
    """
    check_source(source)
    return load_denoiser(source, device) if Path(source).is_file() else load_diffusers(source).to(device)


def check_source(source: str | os.PathLike[str]) -> None:
    """Raise CheckpointError where ``source`` is no file, no folder, and not like a name on the hub."""
    name = str(source)
    if not Path(source).exists() and (Path(source).suffix or name.count("/") != 1 or name.startswith("/")):
        raise CheckpointError(f"{source}: there is no such checkpoint, nor is it the name of a model on the hub")


def denoiser_hash(source: str | os.PathLike[str]) -> str:
    """What identifies the weights at ``source``: SHA-256 of the file, or of the weights' files in a folder.

    Raises:
        CheckpointError: there are none to read.
    """
    check_source(source)
    folder = Path(source)
    if not folder.is_dir():
        return sha256(source) if folder.is_file() else f"hub:{source}"
    files = sorted([*folder.rglob("*.safetensors"), *folder.rglob("*.bin"), *folder.rglob("config.json")])
    if not files:
        raise CheckpointError(f"{source}: holds no weights")
    return "+".join(sha256(file)[:16] for file in files)
