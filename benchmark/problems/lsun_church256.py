"""LSUN churches at 256 pixels, with a published denoiser."""

from dataclasses import dataclass
from typing import ClassVar

from benchmark.problems.images import OneMode256
from benchmark.problems.registry import register


@register
@dataclass(frozen=True)
class LsunChurch256(OneMode256):
    """LSUN outdoor churches (Yu et al. 2015) at 256 pixels, centre crop. One mode."""

    name: ClassVar[str] = "lsun_church256"
    summary: ClassVar[str] = "LSUN church, 256x256; DDPM's network from the hub"
    checkpoint: str = "google/ddpm-ema-church-256"
