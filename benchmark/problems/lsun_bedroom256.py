"""LSUN bedrooms at 256 pixels, with a published denoiser."""

from dataclasses import dataclass
from typing import ClassVar

from benchmark.problems.images import OneMode256
from benchmark.problems.registry import register


@register
@dataclass(frozen=True)
class LsunBedroom256(OneMode256):
    """LSUN bedrooms at 256 pixels, centre crop. One mode."""

    name: ClassVar[str] = "lsun_bedroom256"
    summary: ClassVar[str] = "LSUN bedroom, 256x256; DDPM's network from the hub"
    checkpoint: str = "google/ddpm-ema-bedroom-256"
