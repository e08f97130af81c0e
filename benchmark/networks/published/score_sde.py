"""Checkpoints of Song et al. 2021 (github.com/yang-song/score_sde_pytorch), of their network ``ncsnpp``.

Its modules stand in one list, so the architecture is read by walking the list; then every tensor gets its name in
:class:`ScoreUNet`. What the tensors can't tell follows from the authors' configurations: sums are scaled by √½, and
networks with an input pyramid resample with the filter (1, 3, 3, 1), the others with (1, 1).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.networks.checkpoint import CheckpointError, load_tensors
from benchmark.networks.published.denoisers import (
    DiscreteEpsilonDenoiser,
    DiscreteVarianceExploding,
    Preconditioned,
    SubVariancePreserving,
    VarianceExploding,
    VariancePreserving,
    linear_alphas_cumprod,
)
from benchmark.networks.published.score_unet import ScoreUNet, ScoreUNetConfig

MARK = "all_modules.0."
"""How a name begins that only these files have."""
PROCESSES = ("vp", "subvp", "ve", "vp-discrete")
"""Which process a network was trained in, where its tensors don't say it; `vp-discrete`: a chain of 1,000 steps."""
Module = dict[str, Tensor]


def _kind(module: Module) -> str:
    """What a module of the list is, by its tensors."""
    if "Conv_1.weight" in module:
        resamples = "Conv_2.weight" in module and module["Conv_2.weight"].shape[0] == module["Conv_2.weight"].shape[1]
        return "old block" if "NIN_0.W" in module else "resampling" if resamples else "block"
    if "NIN_3.W" in module:
        return "attention"
    if "Conv2d_0.weight" in module:
        return "residual"
    if "Conv_0.weight" in module:
        return "skip" if module["Conv_0.weight"].shape[-1] == 1 else "old resampling"
    if "W" in module:
        return "fourier"
    return {1: "norm", 2: "linear", 4: "conv"}.get(module["weight"].dim() if "weight" in module else 0, "unknown")


class _Walk:
    """The list of modules, taken one by one, and the renamed tensors of those that were taken."""

    def __init__(self, path: Path, state: dict[str, Tensor]):
        listed: dict[int, Module] = {}
        for name, tensor in state.items():
            if match := re.fullmatch(r"all_modules\.(\d+)\.(.+)", name):
                listed.setdefault(int(match[1]), {})[match[2]] = tensor
        self.path, self.modules, self.at = path, [listed[k] for k in sorted(listed)], 0
        self.kinds = [_kind(module) for module in self.modules]
        self.tensors: dict[str, Tensor] = {}

    def next_is(self, kind: str) -> bool:
        return self.at < len(self.kinds) and self.kinds[self.at] == kind

    def take(self, kind: str, prefix: str) -> Module:
        """The next module, which must be of that kind; its tensors are renamed to ``prefix``."""
        if not self.next_is(kind):
            found = self.kinds[self.at] if self.at < len(self.kinds) else "nothing"
            raise CheckpointError(f"{self.path}: no network 'ncsnpp': module {self.at} is '{found}', expected '{kind}'")
        module = self.modules[self.at]
        self.at += 1
        self.tensors.update((f"{prefix}.{name}".lstrip("."), tensor) for name, tensor in _renamed(kind, module))
        return module


def _renamed(kind: str, module: Module) -> Iterator[tuple[str, Tensor]]:
    """A module's tensors under the names, and in the shapes, of :class:`ScoreUNet`."""
    if kind == "fourier":
        yield "freqs", module["W"]
    elif kind == "attention":
        *qkv, projection = (module[f"NIN_{k}.W"].T[:, :, None, None] for k in range(4))
        *qkv_biases, projection_bias = (module[f"NIN_{k}.b"] for k in range(4))
        yield from (("qkv.weight", torch.stack(qkv, 1).flatten(0, 1)), ("proj.weight", projection))
        yield from (("qkv.bias", torch.stack(qkv_biases, 1).flatten()), ("proj.bias", projection_bias))
        yield from ((f"norm2.{leaf}", module[f"GroupNorm_0.{leaf}"]) for leaf in ("weight", "bias"))
    else:
        conv = {"block": "conv0", "resampling": "conv0"}.get(kind, "conv")
        names = {"GroupNorm_0": "norm0", "GroupNorm_1": "norm1", "Dense_0": "affine", "Conv_1": "conv1"}
        names |= {"Conv_2": "skip", "Conv_0": conv, "Conv2d_0": "conv"}
        for name, tensor in module.items():
            outer, _, leaf = name.rpartition(".")
            yield f"{names.get(outer, outer)}.{leaf}".lstrip("."), tensor


def _read(path: Path, state: dict[str, Tensor]) -> tuple[ScoreUNetConfig, dict[str, Tensor]]:
    """Architecture and renamed tensors.

    Raises:
        CheckpointError: another network than ``ncsnpp``, or one that isn't whole.
    """
    walk = _Walk(path, state)
    levels = walk.kinds.count("resampling") // 2 + 1
    blocks = walk.kinds[: walk.kinds.index("resampling")].count("block") if levels > 1 else 0
    if fourier := walk.next_is("fourier"):
        walk.take("fourier", "")
    linear = walk.take("linear", "mapping.0")["weight"]
    walk.take("linear", "mapping.2")
    stem = walk.take("conv", "enc.0")["weight"]

    channels, attention, encoder = _walk_encoder(walk, levels, blocks)
    decoder = _walk_decoder(walk, levels, blocks, attention)
    options: dict[str, Any] = {"encoder": encoder, "decoder": decoder}
    config = ScoreUNetConfig(
        channels=tuple(channels),
        attention=tuple(attention),
        blocks=blocks,
        stem=stem.shape[0],
        noise_channels=linear.shape[1],
        embedding=linear.shape[0],
        fourier=fourier,
        taps=(1, 1) if encoder == "standard" else (1, 3, 3, 1),
        image_channels=stem.shape[1],
        **options,
    )
    return config, walk.tensors


def _walk_encoder(walk: _Walk, levels: int, blocks: int) -> tuple[list[int], list[bool], str]:
    """Take the encoder's modules; returns each level's channels, whether it attends, and the kind of encoder."""
    channels: list[int] = []
    attention: list[bool] = []
    encoder, step = "standard", 1
    for level in range(levels):
        if level:
            walk.take("resampling", f"enc.{step}")
            for kind in ("skip", "residual"):
                if walk.next_is(kind):
                    step, encoder = step + 1, kind
                    walk.take(kind, f"enc.{step}")
            step += 1
        for _ in range(blocks):
            channels[level:] = [len(walk.take("block", f"enc.{step}")["Conv_0.weight"])]
            attention[level:] = [walk.next_is("attention")]
            if attention[level]:
                walk.take("attention", f"enc.{step}")
            step += 1
    return channels, attention, encoder


def _walk_decoder(walk: _Walk, levels: int, blocks: int, attention: list[bool]) -> str:
    """Take the modules of the middle and the decoder; returns the kind of decoder."""
    for kind, number in (("block", 0), ("attention", 0), ("block", 1)):
        walk.take(kind, f"dec.{number}")
    step, decoder = 2, "standard"
    for level in reversed(range(levels)):
        if level < levels - 1:
            walk.take("resampling", f"dec.{step}")
            step += 1
        for k in range(blocks + 1):
            walk.take("block", f"dec.{step}")
            if k == blocks and attention[level]:
                walk.take("attention", f"dec.{step}")
            step += 1
        if walk.next_is("norm"):
            decoder = "skip" if level else decoder
            walk.take("norm", f"dec.{step}.norm")
            walk.take("conv", f"dec.{step}.conv")
            step += 1
    return decoder


def load_score_sde(path: Path, state: dict[str, Tensor], process: str = "") -> Preconditioned:
    """The denoiser of a network ``ncsnpp``.

    Args:
        state: its tensors, averages laid over them.
        process: one of :data:`PROCESSES`; needed where neither Fourier features (VE) nor the lack of an input pyramid
            (VP) says it.

    Raises:
        CheckpointError: not such a network, damaged, or trained in a process that is not known.
    """
    config, tensors = _read(path, state)
    if not process:
        if not config.fourier and config.encoder != "standard":
            ways = " or ".join(f"{path.name}#{p}" for p in PROCESSES)
            raise CheckpointError(f"{path}: was trained in a process that the tensors can't tell: write {ways}")
        process = "ve" if config.fourier else "vp"
    if config.fourier and process != "ve":
        raise CheckpointError(f"{path}: sees the noise level itself (Fourier features), so it is 've', not '{process}'")
    network = ScoreUNet(config)
    load_tensors(path, network, tensors)
    try:
        denoiser = _denoiser(path, network, state, process)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    return denoiser.for_images(config.image_channels).eval().requires_grad_(False)


def _denoiser(path: Path, network: ScoreUNet, state: dict[str, Tensor], process: str) -> Preconditioned:
    if process == "ve":
        if "sigmas" not in state:
            raise CheckpointError(f"{path}: lacks tensor 'sigmas', the noise levels")
        levels = 2 * state["sigmas"].double().flip(0)  # theirs decrease, and are for images in [0, 1]
        if network.config.fourier:
            return VarianceExploding(network, float(levels[0]), float(levels[-1]))
        return DiscreteVarianceExploding(network, levels)
    if process == "vp-discrete":
        return DiscreteEpsilonDenoiser(network, linear_alphas_cumprod())
    return SubVariancePreserving(network) if process == "subvp" else VariancePreserving(network)
