"""Natural images: CIFAR-10 with a denoiser of our own, CelebA and LSUN with published ones.

At 64 pixels the user names the checkpoint; at 256 it is by default the one of Ho et al. (2020) on the hub.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.data.arrays import DataError, ImageSet, open_images
from benchmark.networks.checkpoint import SHIPPED, CheckpointError, load_classifier, sha256
from benchmark.networks.features import MobileNetFeatures
from benchmark.networks.published import denoiser_hash, open_denoiser
from benchmark.problems.base import Problem, Split
from samplers.errors import OptionError

BATCH = 100


@dataclass(frozen=True)
class ImageProblem(Problem):
    """Images of a prepared data set (see `python -m benchmark.data`), [3, side, side] in [−1, 1].

    Attributes:
        checkpoint: the denoiser: a file that `python -m benchmark.train` wrote; a folder with a diffusers pipeline, or
            the name of one on the hub; a file of DDIM (`ckpt.pth`), EDM (`.pkl`), ScoreSDE or NCSNv2
            (`checkpoint_*.pth`; ScoreSDE's may need `FILE#vp`, `#subvp`, `#ve` or `#vp-discrete` to say how it was
            trained). Empty for the one that the suite ships, where it does.
        extractor: features of the Fréchet distance: `mobilenet_v2` (weights at $DPMOT_WEIGHTS), or `classifier`, the
            suite's own for this problem, where it ships one.
        references: images that Fréchet distances are taken to, the first of the training split; fewer on a CPU.
        shard: samples to a shard, the least that is ever drawn; make it small on a CPU.
        neighbours: training images among which copies are looked for, the first of the split.

    Class attributes:
        side: of the images, in pixels.
        widest: noise range to sample in, where the denoiser was trained on all of it.
    """

    side: ClassVar[int]
    trainable = True
    redistributable: ClassVar[bool] = False
    widest: ClassVar[tuple[float, float]] = (0.002, 80.0)
    classifier_file: ClassVar[Path | None] = None
    checkpoint: str = ""
    extractor: str = "mobilenet_v2"
    references: int = 20_000
    shard: int = 500
    neighbours: int = 50_000

    def __post_init__(self) -> None:
        choices = ["mobilenet_v2"] + (["classifier"] if self.classifier_file else [])
        if self.extractor not in choices:
            raise OptionError(f"{self.name}: unknown extractor '{self.extractor}': choose {' or '.join(choices)}")
        if min(self.references, self.shard) < 1 or self.neighbours < 8:
            raise OptionError(f"{self.name}: references and shard must be at least 1, neighbours 8")

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, self.side, self.side)

    @property
    def sigma_min(self) -> float:  # type: ignore[override]
        """The lowest noise level: where the denoiser's training ends, but not below `widest`."""
        return max(self.widest[0], getattr(self._denoiser, "sigma_min", 0.0))

    @property
    def sigma_max(self) -> float:  # type: ignore[override]
        """The highest noise level: where the denoiser's training ends, but not above `widest`."""
        return min(self.widest[1], getattr(self._denoiser, "sigma_max", math.inf))

    @cached_property
    def data(self) -> ImageSet:
        """The data set on disk."""
        try:
            found = open_images(self.name)
            if (shape := found.images("train").shape[1:]) != (self.side, self.side, 3):
                raise DataError(f"{self.name}: images are {shape[0]}×{shape[1]}, expected {self.side}×{self.side}")
        except DataError as error:
            raise OptionError(str(error)) from None
        return found

    @property
    def source(self) -> str:
        """Where the denoiser comes from."""
        shipped = SHIPPED / self.name / "denoiser.safetensors"
        if not self.checkpoint and not shipped.exists():
            raise OptionError(f"{self.name}: no denoiser is shipped; give one by --set problem.checkpoint=FILE")
        return self.checkpoint or str(shipped)

    @cached_property
    def _denoiser(self) -> nn.Module:
        return self.student()

    def student(self) -> nn.Module:
        try:
            return open_denoiser(self.source, self.device)
        except CheckpointError as error:
            raise OptionError(str(error)) from None

    @cached_property
    def _classifier(self) -> Any:
        return load_classifier(self.classifier_file, self.device) if self.classifier_file else None

    @cached_property
    def _features(self) -> Any:
        try:
            return self._classifier.features if self.extractor == "classifier" else MobileNetFeatures().to(self.device)
        except CheckpointError as error:
            raise OptionError(str(error)) from None

    @cached_property
    def mode_weights(self) -> Tensor:
        labels = self.data.labels("train")
        counts = torch.ones(1) if labels is None else torch.from_numpy(np.bincount(labels))
        return counts.double() / counts.sum()

    def denoiser(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self._denoiser(x, sigma)

    def examples(self, split: Split, count: int) -> Tensor:
        count = min(count, self.references) if split == "reference" else count
        images = np.array(self.data.images("test" if split == "test" else "train")[:count])
        return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1

    @torch.no_grad()
    def _in_batches(self, function: Any, x: Tensor) -> Tensor:
        return torch.cat([function(part.to(self.device)) for part in x.split(BATCH)])

    def posterior(self, x: Tensor) -> Tensor:
        if self._classifier is None:
            return torch.ones(len(x), 1, dtype=torch.float64)
        return self._in_batches(self._classifier.posterior, x).double()

    def features(self, x: Tensor) -> Tensor:
        return self._in_batches(self._features, x)

    @property
    def feature_name(self) -> str:  # type: ignore[override]
        """What the features are, for the notes of metrics."""
        return "CIFAR-10 classifier" if self.extractor == "classifier" else "MobileNetV2"

    def fingerprint(self) -> dict[str, Any]:
        stated = {k: v for k, v in self.data.info.items() if k.endswith("sha256")}
        classifier = {"classifier_sha256": sha256(self.classifier_file)} if self.classifier_file else {}
        try:
            return {"denoiser": denoiser_hash(self.source), **classifier, **stated}
        except CheckpointError as error:
            raise OptionError(str(error)) from None


@dataclass(frozen=True)
class Cifar10(ImageProblem):
    """CIFAR-10 (Krizhevsky 2009): 50,000 images to train on, 10,000 held out; modes are classes, by our classifier."""

    name: ClassVar[str] = "cifar10"
    summary: ClassVar[str] = "CIFAR-10, 32x32, a U-Net denoiser"
    metrics: ClassVar[tuple[str, ...]] = ("fd", "modes", "mode_mixture", "novelty")
    side: ClassVar[int] = 32
    classifier_file: ClassVar[Path | None] = SHIPPED / "cifar10" / "classifier.safetensors"
    extractor: str = "classifier"


@dataclass(frozen=True)
class Celeba64(ImageProblem):
    """CelebA (Liu et al. 2015) at 64 pixels; `dataset.json` says which crop. It has no classes, so one mode."""

    name: ClassVar[str] = "celeba64"
    summary: ClassVar[str] = "CelebA, 64x64; give a denoiser by problem.checkpoint"
    metrics: ClassVar[tuple[str, ...]] = ("fd", "novelty")
    side: ClassVar[int] = 64


@dataclass(frozen=True)
class LsunBedroom64(Celeba64):
    """LSUN bedrooms (Yu et al. 2015) at 64 pixels, centre crop. One mode."""

    name: ClassVar[str] = "lsun_bedroom64"
    summary: ClassVar[str] = "LSUN bedroom, 64x64; give a denoiser by problem.checkpoint"


@dataclass(frozen=True)
class LsunChurch256(Celeba64):
    """LSUN outdoor churches (Yu et al. 2015) at 256 pixels, centre crop. One mode.

    Low frequencies of large pictures are stronger than noise of σ = 80, so sampling starts where training did.
    """

    name: ClassVar[str] = "lsun_church256"
    summary: ClassVar[str] = "LSUN church, 256x256; DDPM's network from the hub"
    side: ClassVar[int] = 256
    widest: ClassVar[tuple[float, float]] = (0.002, 1000.0)
    checkpoint: str = "google/ddpm-ema-church-256"
    references: int = 10_000
    neighbours: int = 2_000
    shard: int = 50


@dataclass(frozen=True)
class LsunBedroom256(LsunChurch256):
    """LSUN bedrooms at 256 pixels, centre crop. One mode."""

    name: ClassVar[str] = "lsun_bedroom256"
    summary: ClassVar[str] = "LSUN bedroom, 256x256; DDPM's network from the hub"
    checkpoint: str = "google/ddpm-ema-bedroom-256"


@dataclass(frozen=True)
class CelebaHq256(LsunChurch256):
    """CelebA-HQ (Karras et al. 2018) at 256 pixels. One mode."""

    name: ClassVar[str] = "celebahq256"
    summary: ClassVar[str] = "CelebA-HQ, 256x256; DDPM's network from the hub"
    checkpoint: str = "google/ddpm-ema-celebahq-256"
