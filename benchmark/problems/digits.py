"""Handwritten digits, 8×8: real images with a network trained by this project, and nothing to download."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor, nn

from benchmark.data.digits import load_digits
from benchmark.metrics.extractors import Extractor, make_extractor
from benchmark.networks.checkpoint import SHIPPED, load_denoiser, sha256
from benchmark.problems.base import Problem, Split
from benchmark.problems.registry import register
from samplers.options import added, check_at_least

CHECKPOINTS = SHIPPED / "digits"


@register
@dataclass(frozen=True)
class Digits(Problem):
    """The 1,797 digits that scikit-learn carries: 1,297 to train on, 500 held out; images in [−1, 1].

    The noise range starts at a sixth of a grey level, below which there is nothing left to denoise. Modes are classes,
    by the small classifier of `python -m benchmark.train classifier --problem digits`.

    Attributes:
        draw: see `Problem`.
    """

    name: ClassVar[str] = "digits"
    summary: ClassVar[str] = "8x8 handwritten digits, a small convolutional denoiser"
    metrics: ClassVar[tuple[str, ...]] = ("fd", "w2", "sliced_w2", "modes", "mode_mixture", "novelty")
    feature_name: ClassVar[str] = "digits classifier"
    sigma_min = 0.02
    trainable = True
    shard = 500
    draw: int = added(0)

    def __post_init__(self) -> None:
        check_at_least(self, 0, "draw")

    @property
    def shape(self) -> tuple[int, ...]:
        return (1, 8, 8)

    @cached_property
    def _denoiser(self) -> Any:
        return self.student()

    @cached_property
    def _classifier(self) -> Extractor:
        return make_extractor("classifier:digits", device=self.device)

    @cached_property
    def mode_weights(self) -> Tensor:
        counts = load_digits("train").labels.bincount(minlength=10)
        return counts.double() / counts.sum()

    def denoiser(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self._denoiser(x, sigma)

    def student(self) -> nn.Module:
        return load_denoiser(CHECKPOINTS / "denoiser.safetensors", device=str(self.device))

    def examples(self, split: Split, count: int) -> Tensor:
        images = load_digits("test" if split == "test" else "train").images
        return images[self.order(split, len(images))[:count]].to(self.device)

    def posterior(self, x: Tensor) -> Tensor:
        return self._classifier.posterior(x).double()

    def features(self, x: Tensor) -> Tensor:
        return self._classifier(x)

    def fingerprint(self) -> dict[str, Any]:
        names = ("denoiser", "classifier")
        return {f"{name}_sha256": sha256(CHECKPOINTS / f"{name}.safetensors") for name in names}
