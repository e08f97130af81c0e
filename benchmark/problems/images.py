"""What problems of natural images have in common: data on disk, a network as denoiser, feature networks."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.data.arrays import DataError, ImageSet, open_images
from benchmark.data.pixels import from_pixels
from benchmark.metrics.extractors import Extractor, find, make_extractor
from benchmark.metrics.extractors.classifier import checkpoint
from benchmark.networks.checkpoint import SHIPPED, CheckpointError, sha256
from benchmark.networks.published import check_denoiser, denoiser_hash, open_denoiser
from benchmark.problems.base import Problem, Split
from samplers.errors import UserError
from samplers.options import added, check_at_least

BATCH = 100


@dataclass(frozen=True)
class ImageProblem(Problem):
    """Images of a prepared data set (see `python -m benchmark.data`), [3, side, side] in [−1, 1].

    Attributes:
        checkpoint: the denoiser: a file that `python -m benchmark.train` wrote; a folder with a diffusers pipeline, or
            the name of one on the hub; a file of DDIM (`ckpt.pth`), EDM (`.pkl`), ScoreSDE or NCSNv2
            (`checkpoint_*.pth`; ScoreSDE's may need `FILE#vp`, `#subvp`, `#ve` or `#vp-discrete` to say how it was
            trained). Empty for the one that the suite ships, where it does.
        extractor: features of the Fréchet distance: `classifier`, the suite's own for this problem, where it ships one;
            or any feature network of `benchmark.metrics.extractors`, such as `mobilenet_v2` (weights at
            $DPMOT_WEIGHTS).
        references: images that Fréchet distances are taken to, a part of the training split; fewer on a CPU.
        shard: samples to a shard, the least that is ever drawn; make it small on a CPU.
        neighbours: training images among which copies are looked for, a part of the split.
        draw: see `Problem`.

    Class attributes:
        side: of the images, in pixels.
        widest: noise range to sample in, where the denoiser was trained on all of it.
        in_random_order: whether the first images of a split are a random part of it. Of other data sets, which may be
            sorted, a part is drawn.
        published_labels: SHA-256 of the labels of published runs, whose keys do not hold it.
    """

    side: ClassVar[int]
    trainable = True
    redistributable: ClassVar[bool] = False
    widest: ClassVar[tuple[float, float]] = (0.002, 80.0)
    in_random_order: ClassVar[bool] = False
    published_labels: ClassVar[str] = ""
    checkpoint: str = ""
    extractor: str = "mobilenet_v2"
    references: int = 20_000
    shard: int = 500
    neighbours: int = 50_000
    draw: int = added(0)

    def __post_init__(self) -> None:
        check_at_least(self, 0, "draw")
        if self.extractor != "classifier":
            find(self.extractor)
        elif not self._has_classifier:
            raise UserError(f"{self.name}: no classifier is shipped: choose another extractor, mobilenet_v2 say")
        if min(self.references, self.shard) < 1 or self.neighbours < 8:
            raise UserError(f"{self.name}: references and shard must be at least 1, neighbours 8")

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
            raise UserError(str(error)) from None
        return found

    @property
    def _shipped(self) -> Path:
        return SHIPPED / self.name / "denoiser.safetensors"

    @property
    def source(self) -> str:
        """Where the denoiser comes from."""
        if not self.checkpoint and not self._shipped.exists():
            raise UserError(f"{self.name}: no denoiser is shipped; give one by --set problem.checkpoint=FILE")
        return self.checkpoint or str(self._shipped)

    @cached_property
    def _denoiser(self) -> nn.Module:
        return self.student()

    def student(self) -> nn.Module:
        try:
            return open_denoiser(self.source, self.device, self.shape)
        except CheckpointError as error:
            raise UserError(str(error)) from None

    @property
    def _has_classifier(self) -> bool:
        return checkpoint(self.name).is_file()

    @cached_property
    def _classifier(self) -> Extractor:
        return make_extractor(f"classifier:{self.name}", device=self.device)

    @cached_property
    def _features(self) -> Extractor:
        if self.extractor == "classifier":
            return self._classifier
        return make_extractor(self.extractor, device=self.device)

    @cached_property
    def mode_weights(self) -> Tensor:
        labels = self.data.labels("train")
        counts = torch.ones(1) if labels is None else torch.from_numpy(np.bincount(labels))
        return counts.double() / counts.sum()

    @property
    def reference_count(self) -> int:  # type: ignore[override]
        """Images that distances are taken to."""
        return min(self.references, len(self.data.images("train")))

    def denoiser(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self._denoiser(x, sigma)

    def examples(self, split: Split, count: int) -> Tensor:
        count = min(count, self.references) if split == "reference" else count
        images = self.data.images("test" if split == "test" else "train")
        chosen = np.array(images[self.order(split, len(images))[:count].numpy()])
        return from_pixels(torch.from_numpy(chosen).permute(0, 3, 1, 2))

    def order(self, split: Split, count: int) -> Tensor:
        """The order on disk where that is random, else a random one, the same whenever it is asked for."""
        if self.draw or self.in_random_order:
            return super().order(split, count)
        return torch.from_numpy(np.random.RandomState(0).permutation(count))

    def posterior(self, x: Tensor) -> Tensor:
        if not self._has_classifier:
            return torch.ones(len(x), 1, dtype=torch.float64)
        return torch.cat([self._classifier.posterior(part) for part in x.split(BATCH)]).double()

    def features(self, x: Tensor) -> Tensor:
        return torch.cat([self._features(part) for part in x.split(BATCH)])

    @property
    def fid(self) -> bool:  # type: ignore[override]
        """Whether the features are the Inception's of FID."""
        return self._features.fid

    @property
    def feature_name(self) -> str:  # type: ignore[override]
        """What the features are, for the notes of metrics."""
        if self.extractor == "classifier":
            return f"{self.name} classifier"
        return "MobileNetV2" if self.extractor == "mobilenet_v2" else self.extractor

    def configuration(self) -> dict[str, Any]:
        """With the denoiser by its content; the shipped one is none that was asked for, wherever it lies."""
        found = super().configuration()
        if self.checkpoint:
            own = self._shipped.exists() and sha256(self._shipped) == self._denoiser_hash
            digest, mark, process = self._denoiser_hash.partition("#")
            found["checkpoint"] = "" if own else f"sha256:{digest[:16]}{mark}{process}"
        return found

    def places(self) -> dict[str, str]:
        return {"checkpoint": self.checkpoint} if self.checkpoint else {}

    @property
    def _denoiser_hash(self) -> str:
        try:
            return denoiser_hash(self.source)
        except CheckpointError as error:
            raise UserError(str(error)) from None

    def fingerprint(self) -> dict[str, Any]:
        """Hash all that is read beside the options.

        Published runs were made with labels and an order of images that they do not state, so neither is stated where
        it is theirs.
        """
        found: dict[str, Any] = {"denoiser": self._denoiser_hash}
        try:
            check_denoiser(self.source, self.shape)
        except CheckpointError as error:
            raise UserError(str(error)) from None
        if self._has_classifier:
            found["classifier_sha256"] = sha256(checkpoint(self.name))
        if self.extractor != "classifier":
            found["extractor_sha256"] = self._features.sha256
        found |= {key: value for key, value in self.data.info.items() if key.endswith("sha256")}
        try:
            found |= {
                f"{split}_sha256": self.data.sha256(split) for split in ("train", "test") if split in self.data.splits
            }
            labels = self.data.labels_sha256("train")
        except DataError as error:
            raise UserError(str(error)) from None
        if labels not in (None, self.published_labels):
            found["train_labels_sha256"] = labels
        if not self.in_random_order:
            found["part"] = "random"
        return found


@dataclass(frozen=True)
class OneMode(ImageProblem):
    """Images without classes: one mode."""

    metrics: ClassVar[tuple[str, ...]] = ("fd", "novelty")


@dataclass(frozen=True)
class OneMode256(OneMode):
    """Images of 256 pixels without classes, with a published denoiser.

    Low frequencies of large pictures are stronger than noise of σ = 80, so sampling starts where training did.
    """

    side: ClassVar[int] = 256
    widest: ClassVar[tuple[float, float]] = (0.002, 1000.0)
    references: int = 10_000
    shard: int = 50
    neighbours: int = 2_000
