"""The U-Net of Ho et al. 2020 in the layout of DDIM's authors, mapped tensor by tensor onto diffusers' ``UNet2DModel``.

Files of that layout: ``ckpt.pth`` of github.com/ermongroup/ddim (CelebA, own trainings), and Ho's weights of CIFAR-10
and LSUN as github.com/pesser/pytorch_diffusion converted them (``diffusion_*_model``, averaged ``ema_diffusion_*``).
"""

import re
from pathlib import Path

from torch import Tensor

from benchmark.networks.checkpoint import CheckpointError, load_tensors
from benchmark.networks.published.denoisers import DiscreteEpsilonDenoiser, linear_alphas_cumprod
from benchmark.networks.published.pipeline import Sample, require_diffusers

MARK = "temb.dense.0.weight"
"""A tensor that only this layout has."""
_RENAMED = [
    (r"^temb\.dense\.0", "time_embedding.linear_1"),
    (r"^temb\.dense\.1", "time_embedding.linear_2"),
    (r"^norm_out", "conv_norm_out"),
    (r"^mid\.block_1", "mid_block.resnets.0"),
    (r"^mid\.block_2", "mid_block.resnets.1"),
    (r"^mid\.attn_1", "mid_block.attentions.0"),
    (r"^(down|up)\.(\d+)\.", r"\1_blocks.\2."),
    (r"\.block\.(\d+)", r".resnets.\1"),
    (r"\.attn\.(\d+)", r".attentions.\1"),
    (r"\.(down|up)sample\.conv", r".\1samplers.0.conv"),
    (r"\.temb_proj", ".time_emb_proj"),
    (r"\.nin_shortcut", ".conv_shortcut"),
    (r"(attentions\.\d+)\.norm", r"\1.group_norm"),
    (r"(attentions\.\d+)\.([qkv])\.", r"\1.to_\2."),
    (r"(attentions\.\d+)\.proj_out", r"\1.to_out.0"),
]


def _rename(name: str, levels: int) -> str:
    """The name in diffusers, which counts the levels of the way up from the bottom."""
    name = re.sub(r"^up\.(\d+)", lambda match: f"up.{levels - 1 - int(match[1])}", name)
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def load_ddpm(path: Path, state: dict[str, Tensor]) -> DiscreteEpsilonDenoiser:
    """The denoiser of DDPM's U-Net with β linear in 1e-4…0.02 at 1,000 steps, as all of these files were trained.

    Raises:
        CheckpointError: not whole, or of another architecture; or diffusers is not installed.
    """
    levels = sum(re.fullmatch(r"down\.\d+\.block\.0\.conv1\.weight", name) is not None for name in state)
    try:
        widths = [len(state[f"down.{level}.block.0.conv1.weight"]) for level in range(levels)]
        image_channels, blocks = state["conv_in.weight"].shape[1], 0
        while f"down.0.block.{blocks}.conv1.weight" in state:
            blocks += 1
        attention = [f"down.{level}.attn.0.q.weight" in state for level in range(levels)]
        network = require_diffusers(path).UNet2DModel(
            in_channels=image_channels,
            out_channels=len(state["conv_out.weight"]),
            layers_per_block=blocks,
            block_out_channels=widths,
            down_block_types=["AttnDownBlock2D" if a else "DownBlock2D" for a in attention],
            up_block_types=["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)],
            attention_head_dim=None,
            downsample_padding=0,
            norm_eps=1e-6,
            flip_sin_to_cos=False,
            freq_shift=1,
        )
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(f"{path}: not a whole DDPM U-Net ({error})") from None
    tensors = {_rename(name, levels): tensor for name, tensor in state.items()}
    flat = {name: t.flatten(1) if "attentions" in name and t.dim() == 4 else t for name, t in tensors.items()}
    load_tensors(path, network, flat)
    if len(state["conv_out.weight"]) == 2 * image_channels:
        raise CheckpointError(f"{path}: predicts variances too (6 channels of 3); only noise is supported")
    denoiser = DiscreteEpsilonDenoiser(Sample(network), linear_alphas_cumprod())
    return denoiser.for_images(image_channels).eval().requires_grad_(False)
