"""CelebA-HQ at 256 pixels, with a published denoiser."""

from dataclasses import dataclass
from typing import ClassVar

from benchmark.problems.images import OneMode256
from benchmark.problems.registry import register


@register
@dataclass(frozen=True)
class CelebaHq256(OneMode256):
    """CelebA-HQ (Karras et al. 2018) at 256 pixels. One mode."""

    name: ClassVar[str] = "celebahq256"
    summary: ClassVar[str] = "CelebA-HQ, 256x256; DDPM's network from the hub"
    checkpoint: str = "google/ddpm-ema-celebahq-256"
