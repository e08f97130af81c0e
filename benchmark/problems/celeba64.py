"""CelebA at 64 pixels."""

from dataclasses import dataclass
from typing import ClassVar

from benchmark.problems.images import OneMode
from benchmark.problems.registry import register


@register
@dataclass(frozen=True)
class Celeba64(OneMode):
    """CelebA (Liu et al. 2015) at 64 pixels; `dataset.json` says which crop. It has no classes, so one mode."""

    name: ClassVar[str] = "celeba64"
    summary: ClassVar[str] = "CelebA, 64x64; give a denoiser by problem.checkpoint"
    side: ClassVar[int] = 64
