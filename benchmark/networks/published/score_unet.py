"""The U-Net family of score models: DDPM++ and NCSN++ (Song et al. 2021, app. H) and ADM (Dhariwal & Nichol 2021).

One network with the options that these differ in, as in Karras et al. 2022, app. F.4. Its tensors have the leaf names
of EDM's files; the readers of files rename the rest.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ScoreUNetConfig:
    """Architecture of :class:`ScoreUNet`. Tuples run from the highest resolution to the lowest.

    Attributes:
        channels: width of each level.
        attention: whether the level's blocks have self-attention.
        blocks: residual blocks of each level on the way down; one more on the way up.
        stem: width of the first convolution.
        noise_channels: width of the noise's sinusoidal embedding; ``embedding``: of what the blocks see of it.
        fourier: random Fourier features of the noise level (NCSN++), else fixed frequencies (DDPM++, ADM).
        taps: filter of down- and upsampling, in one dimension.
        encoder: how the downsampled input joins each level: ``standard`` (not), ``skip`` (added) or ``residual``.
        decoder: ``standard``, or ``skip``: the output is a sum of upsampled images of every level.
        adm: the blocks of ADM (scale-shift conditioning, several heads, attention in every block on the way up), else
            those of DDPM++ and NCSN++ (sums scaled by √½, one head).
        image_channels: channels of the image.
    """

    channels: tuple[int, ...]
    attention: tuple[bool, ...]
    blocks: int
    stem: int
    noise_channels: int
    embedding: int
    fourier: bool = False
    taps: tuple[int, ...] = (1, 1)
    encoder: Literal["standard", "skip", "residual"] = "standard"
    decoder: Literal["standard", "skip"] = "standard"
    adm: bool = False
    image_channels: int = 3


def _group_norm(channels: int, eps: float = 1e-6) -> nn.GroupNorm:
    return nn.GroupNorm(min(32, channels // 4), channels, eps)


class Resample(nn.Module):
    """Double or halve the sides with a separable filter; with ``stride=1`` filter only, for a convolution to halve."""

    def __init__(self, taps: tuple[int, ...], up: bool = False, stride: int = 2, padding: int | None = None):
        super().__init__()
        line = torch.tensor(taps, dtype=torch.float32) / sum(taps) * (2 if up else 1)
        self.kernel = nn.Buffer(torch.outer(line, line)[None, None], persistent=False)
        self.up, self.stride = up, stride
        self.padding = (len(taps) - 1) // 2 if padding is None else padding

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel.to(x.dtype).expand(x.shape[1], -1, -1, -1)
        filtered = F.conv_transpose2d if self.up else F.conv2d
        return filtered(x, kernel, stride=self.stride, padding=self.padding, groups=x.shape[1])


class Block(nn.Module):
    """Residual block with noise conditioning, resampling if asked, and self-attention after it if asked.

    Args:
        joins: its input is the last skip connection behind the running activation.
    """

    def __init__(
        self,
        config: ScoreUNetConfig,
        c_in: int,
        c_out: int,
        attention: bool = False,
        resample: Literal["up", "down"] | None = None,
        joins: bool = False,
    ):
        super().__init__()
        self.adm, self.joins = config.adm, joins
        self.scale = 1.0 if config.adm else math.sqrt(0.5)
        self.heads = c_out // 64 if config.adm else 1
        eps = 1e-5 if config.adm else 1e-6
        self.resample = Resample(config.taps, resample == "up") if resample else nn.Identity()
        self.norm0 = _group_norm(c_in, eps)
        self.conv0 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.affine = nn.Linear(config.embedding, c_out * (2 if config.adm else 1))
        self.norm1 = _group_norm(c_out, eps)
        self.conv1 = nn.Conv2d(c_out, c_out, 3, padding=1)
        projected = c_in != c_out or (resample is not None and not config.adm)
        self.skip = nn.Conv2d(c_in, c_out, 1) if projected else nn.Identity()
        self.attention = attention
        if attention:
            self.norm2 = _group_norm(c_out, eps)
            self.qkv = nn.Conv2d(c_out, 3 * c_out, 1)
            self.proj = nn.Conv2d(c_out, c_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv0(self.resample(F.silu(self.norm0(x))))
        shift = self.affine(embedding)[:, :, None, None]
        if self.adm:
            scale, shift = shift.chunk(2, 1)
            h = F.silu(torch.addcmul(shift, self.norm1(h), scale + 1))
        else:
            h = F.silu(self.norm1(h + shift))
        x = (self.skip(self.resample(x)) + self.conv1(h)) * self.scale
        return (x + self._attend(x)) * self.scale if self.attention else x

    def _attend(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm2(x)).view(len(x), self.heads, -1, 3, x.shape[2] * x.shape[3])
        q, k, v = (part.transpose(2, 3).contiguous() for part in qkv.unbind(3))
        attended = F.scaled_dot_product_attention(q, k, v)
        return self.proj(attended.transpose(2, 3).reshape(x.shape))


class InputSkip(nn.Module):
    """Joins the input image, downsampled once more, to the encoder: added, or (``residual``) as a path of its own."""

    def __init__(self, taps: tuple[int, ...], c_in: int, c_out: int, residual: bool):
        super().__init__()
        self.residual = residual
        if residual:
            self.down = Resample(taps, stride=1, padding=len(taps) // 2)
            self.conv = nn.Conv2d(c_in, c_out, 3, stride=2)
        else:
            self.down = Resample(taps)
            self.conv = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """The joined activation, and what the next level's skip starts from."""
        image = self.down(image)
        x = x + self.conv(image)
        return (x * math.sqrt(0.5),) * 2 if self.residual else (x, image)


class Output(nn.Module):
    """An image from the activations of a level, added to the upsampled image of the level below, if any."""

    def __init__(self, config: ScoreUNetConfig, c_in: int):
        super().__init__()
        self.up = Resample(config.taps, up=True)
        self.norm = _group_norm(c_in, 1e-5 if config.adm else 1e-6)
        self.conv = nn.Conv2d(c_in, config.image_channels, 3, padding=1)

    def forward(self, x: Tensor, image: Tensor | None) -> Tensor:
        found = self.conv(F.silu(self.norm(x)))
        return found if image is None else found + self.up(image)


class ScoreUNet(nn.Module):
    """``(x [B, C, H, W], noise [B]) -> [B, C, H, W]``; what the noise label is depends on the training."""

    def __init__(self, config: ScoreUNetConfig):
        super().__init__()
        self.config = config
        if config.fourier:
            self.freqs = nn.Buffer(torch.randn(config.noise_channels // 2))
        self.mapping = nn.Sequential(
            nn.Linear(config.noise_channels, config.embedding), nn.SiLU(), nn.Linear(config.embedding, config.embedding)
        )
        widths = [config.stem]
        self.enc = nn.ModuleList(self._encoder(widths))
        self.dec = nn.ModuleList(self._decoder(widths))

    def _encoder(self, widths: list[int]) -> Iterator[nn.Module]:
        """The way down; appends to ``widths`` those of the skip connections."""
        c, width, image = self.config, self.config.stem, self.config.image_channels
        yield nn.Conv2d(image, width, 3, padding=1)
        for level, wider in enumerate(c.channels):
            if level:
                yield Block(c, width, width, resample="down")
                if c.encoder != "standard":
                    yield InputSkip(c.taps, image, width, c.encoder == "residual")
                    image = width if c.encoder == "residual" else image
                widths.append(width)
            for _ in range(c.blocks):
                yield Block(c, width, wider, c.attention[level])
                widths.append(width := wider)

    def _decoder(self, widths: list[int]) -> Iterator[nn.Module]:
        """The way up, which takes the skip connections from the end of ``widths``."""
        c, width, bottom = self.config, self.config.channels[-1], len(self.config.channels) - 1
        yield Block(c, width, width, attention=True)
        yield Block(c, width, width)
        for level in reversed(range(bottom + 1)):
            if level < bottom:
                yield Block(c, width, width, resample="up")
            for k in range(c.blocks + 1):
                attention = c.attention[level] and (c.adm or k == c.blocks)
                yield Block(c, width + widths.pop(), c.channels[level], attention, joins=True)
                width = c.channels[level]
            if c.decoder == "skip" or level == 0:
                yield Output(c, width)

    def embed(self, noise: Tensor) -> Tensor:
        """What the blocks see of the noise labels ``[B]``; ``[B, embedding]``."""
        if self.config.fourier:
            angles = noise[:, None] * (2 * math.pi * self.freqs)
        else:
            half = self.config.noise_channels // 2
            powers = torch.arange(half, dtype=torch.float32, device=noise.device) / (half - (not self.config.adm))
            angles = noise[:, None] * (1 / 10000) ** powers
        waves = [angles.cos(), angles.sin()] if self.config.adm else [angles.sin(), angles.cos()]
        return F.silu(self.mapping(torch.cat(waves, 1).to(next(self.parameters()).dtype)))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        embedding, below = self.embed(noise), x
        skips: list[Tensor] = []
        for step in self.enc:
            if isinstance(step, InputSkip):
                x, below = step(x, below)
                skips[-1] = x
            else:
                x = step(x, embedding) if isinstance(step, Block) else step(x)
                skips.append(x)
        image = None
        for step in self.dec:
            if isinstance(step, Output):
                image = step(x, image)
            else:
                x = step(torch.cat([x, skips.pop()], 1) if step.joins else x, embedding)
        assert image is not None
        return image
