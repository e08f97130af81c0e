"""LSUN bedrooms at 64 pixels."""

from dataclasses import dataclass
from typing import ClassVar

from benchmark.problems.images import OneMode
from benchmark.problems.registry import register


@register
@dataclass(frozen=True)
class LsunBedroom64(OneMode):
    """LSUN bedrooms (Yu et al. 2015) at 64 pixels, centre crop. One mode."""

    name: ClassVar[str] = "lsun_bedroom64"
    summary: ClassVar[str] = "LSUN bedroom, 64x64; give a denoiser by problem.checkpoint"
    side: ClassVar[int] = 64
