"""The denoiser network: a U-Net of residual blocks with FiLM noise conditioning, and its EDM preconditioning.

Every activation is kept as NHWC (``channels_last``) in the compute type. The residual stream travels as a pair
``(x, r)`` that stands for ``x + r``: the addition is left to the next normalisation, which does it in the same pass.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.networks.dropout import Dropout
from benchmark.networks.norm import add_norm

FREQUENCIES, LOWEST = 64, 0.25
"""Of the noise embedding: how many, and the lowest, in cycles per unit of log σ / 4."""


@dataclass(frozen=True)
class UNetConfig:
    """Architecture of :class:`UNet`. Tuples run from the highest resolution to the lowest.

    Attributes:
        image_channels: channels of the image.
        channels: width of each level; every width is a multiple of ``group_size``.
        blocks: residual blocks of each level, on the way down and again on the way up.
        attention: levels whose residual blocks are followed by self-attention.
        middle_attention: self-attention between the two residual blocks at the bottom.
        patch: side of the pixel patches that the first convolution sees as channels.
        group_size: channels per group of the group normalisation.
        embedding: width of the noise embedding.
        noise_frequency: highest frequency of the noise embedding, in cycles per unit of log σ / 4.
        sigma_data: standard deviation of the data, for the preconditioning.
    """

    image_channels: int = 3
    channels: tuple[int, ...] = (128, 256, 256)
    blocks: tuple[int, ...] = (3, 3, 3)
    attention: tuple[int, ...] = (2,)
    middle_attention: bool = True
    patch: int = 1
    group_size: int = 8
    embedding: int = 512
    noise_frequency: float = 25.0
    sigma_data: float = 0.5


class Conv(nn.Module):
    """Convolution without bias, weights cast to the type of its input; a 1×1 kernel runs as a matrix product."""

    def __init__(self, c_in: int, c_out: int, size: int, zero: bool = False):
        super().__init__()
        std = 0.0 if zero else 1 / math.sqrt(c_in * size * size)
        weight = torch.randn(c_out, c_in, size, size) * std
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype)
        if weight.shape[-1] > 1:
            return F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1)).permute(0, 3, 1, 2)


class Norm(nn.Module):
    """Group normalisation of ``x + r`` with a learned affine map, then SiLU if ``silu``; see :func:`add_norm`."""

    def __init__(self, channels: int, group_size: int, silu: bool = True):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.group_size, self.silu = group_size, silu

    def forward(
        self, x: Tensor, r: Tensor | None = None, skip: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        return add_norm(x, r, skip, self.scale[None], self.shift[None], self.group_size, self.silu)


class ResBlock(nn.Module):
    """Pre-activation residual block whose inner normalisation is modulated by the noise level (FiLM)."""

    def __init__(self, c_in: int, c_out: int, group_size: int):
        super().__init__()
        self.norm = Norm(c_in, group_size)
        self.conv1 = Conv(c_in, c_out, 3)
        self.conv2 = Conv(c_out, c_out, 3, zero=True)
        self.project = Conv(c_in, c_out, 1) if c_in != c_out else None
        self.drop: Dropout | None = None

    def forward(
        self, x: Tensor, r: Tensor | None, scale: Tensor, shift: Tensor, skip: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns ``x + r``, and the pair that stands for the block's output; ``skip`` is concatenated to ``x + r``."""
        total, skip, h = self.norm(x, r, skip)
        h = add_norm(self.conv1(h), None, None, scale, shift, self.norm.group_size, True, self.drop)[-1]
        if self.project is None:
            identity = total
        elif skip is None:
            identity = self.project(total)
        else:  # the projection of the concatenation, without building it
            weights = self.project.weight.to(x.dtype).flatten(1).split([total.shape[1], skip.shape[1]], 1)
            (one, w_one), (other, w_other) = zip((t.permute(0, 2, 3, 1) for t in (total, skip)), weights, strict=True)
            identity = torch.addmm(F.linear(one, w_one).flatten(0, 2), other.flatten(0, 2), w_other.T)
            identity = identity.view(*one.shape[:3], -1).permute(0, 3, 1, 2)
        return total, identity, self.conv2(h)


class Attention(nn.Module):
    """Self-attention over all pixels, heads of 64 channels."""

    def __init__(self, channels: int, group_size: int):
        super().__init__()
        self.norm = Norm(channels, group_size, silu=False)
        self.qkv = Conv(channels, 3 * channels, 1)
        self.out = Conv(channels, channels, 1, zero=True)
        self.heads = max(1, channels // 64)

    def forward(self, x: Tensor, r: Tensor | None) -> tuple[Tensor, Tensor]:
        total, _, h = self.norm(x, r)
        n, c, height, width = h.shape
        h = h.permute(0, 2, 3, 1).reshape(n, height * width, c)
        weights = self.qkv.weight.to(h.dtype).flatten(1).chunk(3)  # three products: no gradients to join
        q, k, v = (F.linear(h, w).unflatten(2, (self.heads, -1)).transpose(1, 2) for w in weights)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, height, width, c)
        return total, self.out(h.permute(0, 3, 1, 2))


class NoiseEmbedding(nn.Module):
    """Maps log σ / 4 ``[M]`` to the FiLM scale and shift ``[M, c]`` of every residual block."""

    def __init__(self, width: int, sizes: list[int], highest: float):
        super().__init__()
        self.sizes = sizes
        cycles = torch.logspace(math.log10(LOWEST), math.log10(highest), FREQUENCIES)
        self.frequencies = nn.Buffer(2 * math.pi * cycles, persistent=False)
        self.hidden1, self.hidden2 = nn.Linear(2 * FREQUENCIES, width), nn.Linear(width, width)
        self.film = nn.Linear(width, 2 * sum(sizes))
        nn.init.normal_(self.film.weight, std=0.02)
        with torch.no_grad():  # scale 1, shift 0
            self.film.bias.copy_(torch.tensor([1.0, 0.0]).repeat_interleave(sum(sizes)))

    def forward(self, c_noise: Tensor) -> list[tuple[Tensor, Tensor]]:
        angles = c_noise[:, None] * self.frequencies
        h = F.silu(self.hidden1(torch.cat([angles.cos(), angles.sin()], 1)))
        scale, shift = self.film(F.silu(self.hidden2(h))).chunk(2, 1)
        return list(zip(scale.split(self.sizes, 1), shift.split(self.sizes, 1), strict=True))


def halve(x: Tensor) -> Tensor:
    """Mean of every 2×2 pixels. (A reduction over a view: its gradient is a plain expand, fast in NHWC.)"""
    n, c, height, width = x.shape
    x = x.permute(0, 2, 3, 1).reshape(n, height // 2, 2, width // 2, 2, c)
    return x.mean((2, 4)).permute(0, 3, 1, 2)


def double(x: Tensor) -> Tensor:
    """Nearest-neighbour upsampling by 2."""
    n, c, height, width = x.shape
    x = x.permute(0, 2, 3, 1).reshape(n, height, 1, width, 1, c).expand(-1, -1, 2, -1, 2, -1)
    return x.reshape(n, 2 * height, 2 * width, c).permute(0, 3, 1, 2)


class UNet(nn.Module):
    """U-Net with concatenated skips: ``(x [N, C, H, W], c_noise [1] or [N]) -> [N, C, H, W]``."""

    def __init__(self, config: UNetConfig):
        super().__init__()
        self.config, size = config, config.group_size
        if len(config.channels) != len(config.blocks) or any(c % size for c in config.channels):
            raise ValueError(f"channels and blocks must pair up, channels in multiples of {size}: {config}")
        self.pixel_channels = config.image_channels * config.patch**2
        padded = -(-self.pixel_channels // 8) * 8  # matrix units want multiples of 8
        self.conv_in = Conv(padded, config.channels[0], 3)
        film: list[int] = []

        def level(index: int, first: int, skip: bool) -> nn.ModuleList:
            """Residual blocks of a level, each followed by its attention if it has one."""
            width, stage = config.channels[index], nn.ModuleList()
            for block in range(config.blocks[index]):
                stage.append(ResBlock((first if block == 0 else width) + skip * width, width, size))
                film.append(width)
                if index in config.attention:
                    stage.append(Attention(width, size))
            return stage

        levels, bottom = range(len(config.channels)), config.channels[-1]
        self.down = nn.ModuleList(level(i, config.channels[max(i - 1, 0)], skip=False) for i in levels)
        self.middle = nn.ModuleList([ResBlock(bottom, bottom, size)])
        if config.middle_attention:
            self.middle.append(Attention(bottom, size))
        self.middle.append(ResBlock(bottom, bottom, size))
        film += [bottom, bottom]
        self.up = nn.ModuleList(level(i, config.channels[i], skip=True) for i in reversed(levels))
        self.narrow = nn.ModuleList(Conv(c, finer, 1) for finer, c in reversed(list(pairwise(config.channels))))
        self.norm_out = Norm(config.channels[0], size)
        self.conv_out = Conv(config.channels[0], padded, 3, zero=True)
        self.embed = NoiseEmbedding(config.embedding, film, config.noise_frequency)

    def set_dropout(self, rate: float, seed: Tensor) -> None:
        """Dropout before every block's second convolution, for training: from the values that ``seed`` then has."""
        blocks = [module for module in self.modules() if isinstance(module, ResBlock)]
        for salt, block in enumerate(blocks):
            block.drop = Dropout(rate, seed, salt) if rate > 0 else None

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        film = iter(self.embed(c_noise))
        x = F.pixel_unshuffle(x, self.config.patch) if self.config.patch > 1 else x
        x = F.pad(x, (0, 0, 0, 0, 0, self.conv_in.weight.shape[1] - x.shape[1]))
        x = self.conv_in(x.contiguous(memory_format=torch.channels_last))
        r: Any = None
        stage: Any
        skips: list[Tensor] = []

        for depth, stage in enumerate(self.down):
            if depth:
                x, r = halve(skips[-1]), None
            for i, layer in enumerate(stage):
                if isinstance(layer, ResBlock):
                    total, x, r = layer(x, r, *next(film))
                    if i:  # the output of the block before, now summed
                        skips.append(total)
                else:
                    x, r = layer(x, r)
            x, r = x + r, None
            skips.append(x)

        for layer in self.middle:
            x, r = layer(x, r, *next(film))[1:] if isinstance(layer, ResBlock) else layer(x, r)

        for depth, stage in enumerate(self.up):
            if depth:
                x, r = double(self.narrow[depth - 1](x + r)), None
            for layer in stage:
                if isinstance(layer, ResBlock):
                    _, x, r = layer(x, r, *next(film), skip=skips.pop())
                else:
                    x, r = layer(x, r)

        x = self.conv_out(self.norm_out(x, r)[-1])[:, : self.pixel_channels]
        return F.pixel_shuffle(x, self.config.patch) if self.config.patch > 1 else x


class Denoiser(nn.Module):
    """EDM preconditioning around a network (Karras et al. 2022, equation 7 and Table 1): ``(x, sigma) -> x0_hat``.

    ``x`` is ``[B, C, H, W]`` = x0 + σ·n, ``sigma`` ``[]`` or ``[B]`` > 0; the output has the type of ``x``. The network
    itself runs in ``compute_dtype``; one σ for the whole batch costs one noise embedding instead of B.
    """

    def __init__(self, network: UNet, compute_dtype: torch.dtype = torch.float32):
        super().__init__()
        self.network, self.compute_dtype = network, compute_dtype

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, 1, 1, 1)
        sigma_data = self.network.config.sigma_data
        scale = (sigma**2 + sigma_data**2).sqrt()
        c_noise = sigma.flatten().float().log() / 4
        out = self.network((x / scale).to(self.compute_dtype), c_noise)
        return (sigma_data / scale) ** 2 * x + (sigma * sigma_data / scale) * out.to(x.dtype)
