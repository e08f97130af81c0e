"""The pickles of Karras et al. 2022 (github.com/NVlabs/edm): ``edm-*-uncond-*.pkl``, ``baseline-*-uncond-*.pkl``."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.networks.checkpoint import CheckpointError, load_tensors
from benchmark.networks.published.denoisers import EDM, Preconditioned, VarianceExploding, VariancePreserving
from benchmark.networks.published.pickles import Inert, read_pickle
from benchmark.networks.published.score_unet import ScoreUNet, ScoreUNetConfig

MOST_BLOCKS = 64


def _song(options: dict[str, Any]) -> dict[str, Any]:
    """What DDPM++ and NCSN++ add to :func:`_config`, by EDM's names and defaults."""
    return {
        "noise_channels": options["model_channels"] * options.get("channel_mult_noise", 1),
        "stem": options["model_channels"],
        "fourier": options.get("embedding_type", "positional") == "fourier",
        "taps": tuple(options.get("resample_filter", (1, 1))),
        "encoder": options.get("encoder_type", "standard"),
        "decoder": options.get("decoder_type", "standard"),
    }


def _adm(options: dict[str, Any]) -> dict[str, Any]:
    """What ADM adds to :func:`_config`."""
    base = options["model_channels"]
    return {"noise_channels": base, "stem": base * options["channel_mult"][0], "adm": True}


_NETWORKS: dict[str, tuple[Any, dict[str, Any]]] = {
    "SongUNet": (
        _song,
        {"model_channels": 128, "channel_mult": [1, 2, 2, 2], "num_blocks": 4, "attn_resolutions": [16]},
    ),
    "DhariwalUNet": (
        _adm,
        {"model_channels": 192, "channel_mult": [1, 2, 3, 4], "num_blocks": 3, "attn_resolutions": [32, 16, 8]},
    ),
}
"""Class of the network -> what is its own, and the defaults of what it shares with the other."""


def _config(path: Path, network: Inert) -> ScoreUNetConfig:
    """The architecture from the arguments that the network was made with, which its pickle keeps."""
    if network.class_name not in _NETWORKS:
        raise CheckpointError(f"{path}: network '{network.class_name}' is not known: {' or '.join(_NETWORKS)}")
    own, defaults = _NETWORKS[network.class_name]
    options = {**defaults, **network.get("_init_kwargs", {})}
    base, side = options["model_channels"], options["img_resolution"]
    if options.get("out_channels", options["in_channels"]) != options["in_channels"]:
        raise ValueError(f"{options['in_channels']} channels in, {options['out_channels']} out")
    if not 1 <= options["num_blocks"] <= MOST_BLOCKS or not 1 <= len(options["channel_mult"]) <= MOST_BLOCKS:
        raise ValueError(f"num_blocks and the length of channel_mult are 1 to {MOST_BLOCKS}")
    sides = [side >> level for level in range(len(options["channel_mult"]))]
    return ScoreUNetConfig(
        channels=tuple(base * multiple for multiple in options["channel_mult"]),
        attention=tuple(at in options["attn_resolutions"] for at in sides),
        blocks=options["num_blocks"],
        embedding=base * options.get("channel_mult_emb", 4),
        image_channels=options["in_channels"],
        **own(options),
    )


def _renamed(network: Inert) -> dict[str, Tensor]:
    """The tensors under the names of :class:`ScoreUNet`, whose steps are numbered in the order of theirs."""
    fixed = {"map_layer0": "mapping.0", "map_layer1": "mapping.2", "map_noise": ""}
    outer = {"aux_norm": "norm.", "aux_conv": "conv.", "aux_skip": "conv.", "aux_residual": "conv."}
    numbers: dict[str, dict[str, int]] = {"enc": {}, "dec": {}}
    tensors = {}
    for name, tensor in network.tensors():
        first, _, rest = name.partition(".")
        if rest.endswith("resample_filter") or first == "map_augment":  # known from the options; no augmentation here
            continue
        if first.startswith("out_"):  # of ADM
            first, rest = "dec", f"1x1_aux_{first.removeprefix('out_')}.{rest}"
        if first in numbers:
            step, _, leaf = rest.partition(".")
            side, _, kind = step.partition("_")
            of_side = numbers[first]
            number = of_side.setdefault(f"{side}_aux" if kind in outer else step, len(of_side))
            rest = f"{number}.{outer.get(kind, '')}{leaf}"
        tensors[f"{fixed.get(first, first)}.{rest}".lstrip(".")] = tensor
    return tensors


def _preconditioned(path: Path, kind: str, options: Inert, network: ScoreUNet) -> Preconditioned:
    if kind == "EDMPrecond":
        return EDM(network, options.get("sigma_data", 0.5))
    if kind == "VEPrecond":
        return VarianceExploding(network, options.get("sigma_min", 0.02), options.get("sigma_max", 100.0))
    if kind == "VPPrecond":
        schedule = [options.get("beta_d", 19.9), options.get("beta_min", 0.1), options.get("M", 1000)]
        if schedule != [19.9, 0.1, 1000]:
            raise CheckpointError(f"{path}: VP schedule {schedule} is not supported: [19.9, 0.1, 1000]")
        return VariancePreserving(network)
    raise CheckpointError(f"{path}: '{kind}' is not known: EDMPrecond, VPPrecond or VEPrecond")


@torch.no_grad()
def load_edm(path: Path) -> Preconditioned:
    """The denoiser of an unconditional network of EDM's authors, from its averaged weights.

    Raises:
        CheckpointError: damaged, foreign, conditional on classes, or holding anything but weights and settings.
    """
    content = read_pickle(path)
    model = content.get("ema") if isinstance(content, dict) else None
    network = model.get("_modules", {}).get("model") if isinstance(model, Inert) else None
    if not isinstance(model, Inert) or not isinstance(network, Inert):
        raise CheckpointError(f"{path}: no pickle of EDM's: it holds no network 'ema'")
    if classes := model.get("label_dim", 0):
        raise CheckpointError(f"{path}: conditional on {classes} classes; only unconditional networks are supported")
    try:
        found = ScoreUNet(_config(path, network))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{path}: bad options of '{network.class_name}' ({error})") from None
    load_tensors(path, found, _renamed(network))
    try:
        denoiser = _preconditioned(path, model.class_name, model, found)
    except (CheckpointError, TypeError) as error:
        raise CheckpointError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    side = model.get("img_resolution") or network.get("_init_kwargs", {})["img_resolution"]
    return denoiser.for_images(found.config.image_channels, (side, side)).eval().requires_grad_(False)
