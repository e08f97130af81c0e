"""Judge anyone's images: what they are measured with, and what the metrics can ask of one pass over them."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.data.arrays import DataError
from benchmark.data.reader import Images
from benchmark.metrics.base import MetricError, Quantity
from benchmark.metrics.estimation.gaussian import Gaussian
from benchmark.metrics.estimation.neighbours import Index
from benchmark.metrics.estimation.once import once
from benchmark.metrics.evidence import Evidence, Need, Neighbourhood
from benchmark.metrics.extractors import Extractor
from benchmark.metrics.images import training
from benchmark.metrics.images.collect import Collected, collect
from benchmark.metrics.images.reference import Reference

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Judge:
    """What samples are measured with.

    Attributes:
        extractor: whose features.
        reference: the split that distances are to; None where only statistics are at hand.
        given: statistics of the reference features, where they are not to be the reference's own.
        classifier: for what needs class probabilities; None without one.
        test: the held-out split, for novelty.
    """

    extractor: Extractor
    reference: Reference | None
    given: Gaussian | None = None
    classifier: Extractor | None = None
    test: Reference | None = None

    @property
    def data(self) -> Reference:
        """The reference, which must be a data set here."""
        if self.reference is None:
            raise MetricError("there are statistics alone, and no images to compare with: give --problem")
        return self.reference

    @property
    def moments(self) -> Gaussian:
        """Moments of the reference features."""
        return self.given or self.data.gaussian

    @property
    def reference_count(self) -> int | None:
        """Images that the reference was made of; None where statistics do not say."""
        if self.given is not None:
            return self.given.count or None
        return self.data.images.count

    @cached_property
    def train(self) -> Reference:
        """The training split, which novelty is about whatever split the distances are to."""
        return self.data if self.data.split == "train" else replace(self.data, split="train")

    @cached_property
    def training_pixels(self) -> Index:
        """The training images, to find neighbours among."""
        return training.pixel_index(self.train, self.extractor.device)

    def lacks(self, need: Need) -> str | None:
        """Say what is missing, as `Evidence.lacks`."""
        if need in ("posterior", "modes") and self.classifier is None:
            return "--classifier: a network with class logits"
        if need != "posterior" and self.reference is None and not (need == "moments" and self.given):
            return "images to compare with, not statistics alone: give --problem"
        if need == "modes" and not self._classifier_fits():
            return f"a classifier of the classes of '{self.data.data.name}': give it by --classifier"
        if need == "training set":
            try:
                _ = self.test and self.test.images
            except DataError as error:
                return f"held-out images ({error})"
        return None

    def _classifier_fits(self) -> bool:
        """Whether the logits are of the classes that the data set is labelled with."""
        data = self.data.data
        return (
            self.classifier is not None and self.classifier.classes_of == data.name and data.labels("train") is not None
        )

    def prepare(self, needs: Iterable[Need]) -> None:
        """Compute what is kept on disk of the reference, where it is missing."""
        if "moments" in needs:
            _ = self.moments
        if "reference features" in needs:
            _ = self.data.features
        if "training set" in needs and self.test is not None:
            training.in_features(self.train, self.test)
            training.in_pixels(self.training_pixels, self.train, self.test)


class ImageEvidence(Evidence):
    """Images beside a judge's reference. They are looked at once, when a metric first asks for what that gives.

    Args:
        needs: what will be asked for, so that one pass gives it all.
        batch: images at a time; results do not depend on it beyond rounding.
        progress: whether to show a bar.
    """

    def __init__(
        self, images: Images, judge: Judge, needs: Iterable[Need], batch: int = 250, progress: bool = False
    ) -> None:
        self.images, self.judge, self.needs = images, judge, frozenset(needs)
        self.batch, self.progress, self.count = batch, progress, images.count
        self.reference_count = judge.reference_count

    @cached_property
    def seen(self) -> Collected:
        """What the pass over the images left; all processes of a group make it together."""
        return collect(
            self.images,
            self.judge.extractor,
            classifier=self.judge.classifier if self.needs & {"posterior", "modes"} else None,
            train_pixels=self.judge.training_pixels if "training set" in self.needs else None,
            batch=self.batch,
            progress=self.progress,
        )

    def lacks(self, need: Need) -> str | None:
        return self.judge.lacks(need)

    def least(self, least: int, ranks: int) -> int:
        return max(least, ranks * (self.judge.extractor.dim + 1))

    def key(self, quantity: Quantity) -> str:
        network = {"features": self.judge.extractor, "classifier": self.judge.classifier}.get(quantity.network or "")
        return quantity.key_with(network.name, network.fid) if network else quantity.key

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        return once(self.judge.data, key, make)

    @property
    def features(self) -> Tensor:
        return self.seen.features

    @property
    def moments(self) -> Gaussian:
        return self.judge.moments

    @property
    def all_reference_features(self) -> Tensor:
        return self.judge.data.features

    @property
    def feature_note(self) -> str:
        judge = self.judge
        reference = judge.reference
        split = f"reference: {reference.data.name} {reference.split}" if reference else "given statistics"
        return f"features: {judge.extractor.name} {judge.extractor.sha256[:8]}; {split}"

    @property
    def _logits(self) -> Tensor:
        if self.seen.logits is None:
            name = self.judge.classifier.name if self.judge.classifier else "none"
            raise MetricError(f"'{name}' has no class logits: give another --classifier")
        return self.seen.logits

    @property
    def posterior(self) -> Tensor:
        return self._logits.softmax(1)

    @property
    def log_posterior(self) -> Tensor:
        return self._logits.double().log_softmax(1)

    @property
    def posterior_note(self) -> str:
        assert self.judge.classifier is not None
        return f"classifier: {self.judge.classifier.name} {self.judge.classifier.sha256[:8]}"

    @property
    def mode_weights(self) -> Tensor:
        counts = np.bincount(training.labels(self.judge.train), minlength=self._logits.shape[1])
        return torch.from_numpy(counts / counts.sum())

    def points(self, count: int) -> Tensor:
        return _as_floats(self.images, count)

    def reference_points(self, count: int) -> Tensor:
        return _as_floats(self.judge.data.images, count)

    @property
    def digests(self) -> NDArray[Any]:
        return self.seen.digests.cpu().numpy()

    def neighbourhoods(self) -> list[Neighbourhood]:
        """In pixels, and in features, named after the extractor; a sample's cell is the label of its neighbour."""
        train, test, seen, name = self.judge.train, self.judge.test, self.seen, self.judge.extractor.name
        assert test is not None and seen.pixel_distances is not None and seen.pixel_neighbours is not None
        labels = training.labels(train)
        features = training.in_features(train, test)
        distances, neighbours = features.index.nearest(seen.features, 2)
        return [
            Neighbourhood(
                distances=seen.pixel_distances,
                neighbours=seen.pixel_neighbours,
                cells=labels[seen.pixel_neighbours[:, 0].cpu().numpy()],
                train=training.in_pixels(self.judge.training_pixels, train, test),
                space="pixels in [0, 1]",
            ),
            Neighbourhood(
                distances=distances,
                neighbours=neighbours,
                cells=labels[neighbours[:, 0].cpu().numpy()],
                train=features,
                space=f"features: {name}",
                suffix=f"[{name}]",
            ),
        ]


def _as_floats(images: Images, count: int) -> Tensor:
    """The first images as floats in [−1, 1], [n, 3, H, W]."""
    first = min(count, images.count)
    return next(images.batches(first, 0, first)).float() / 127.5 - 1
