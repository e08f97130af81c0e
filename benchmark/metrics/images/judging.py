"""The metrics of images by name: what each needs, and what it makes of one pass over the samples."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from benchmark.data.arrays import DataError
from benchmark.metrics.base import Estimate, MetricError
from benchmark.metrics.estimation.extrapolation import fd_infinity
from benchmark.metrics.estimation.intervals import share
from benchmark.metrics.estimation.neighbours import Index
from benchmark.metrics.extractors import Extractor, value_name
from benchmark.metrics.frechet import Gaussian, frechet_estimate
from benchmark.metrics.images import training
from benchmark.metrics.images.collect import Collected
from benchmark.metrics.images.reference import Reference
from benchmark.metrics.inception_score import inception_score
from benchmark.metrics.kid import KernelSums, kernel_distance, kernel_distance_subsets
from benchmark.metrics.manifold import Balls, precision_recall_density_coverage
from benchmark.metrics.mode_mixture import mixture_rates
from benchmark.metrics.novelty import novelty_of

SUBSET = 1000  # size of the customary subsets of the kernel distance


@dataclass(frozen=True, eq=False)
class Judge:
    """What samples are measured with.

    Attributes:
        extractor: whose features.
        reference: the split that distances are to; None where only statistics are at hand.
        given: statistics of the reference features, where they are not to be the reference's own.
        classifier: for mode mixture and Inception score; None without one.
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
            raise MetricError("only 'fd' and 'fd-infinity' can be measured with statistics alone: give --problem")
        return self.reference

    @property
    def gaussian(self) -> Gaussian:
        """Moments of the reference features."""
        return self.given or self.data.gaussian

    @cached_property
    def train(self) -> Reference:
        """The training split, which novelty is about whatever split the distances are to."""
        return self.data if self.data.split == "train" else replace(self.data, split="train")

    @cached_property
    def training_pixels(self) -> Index:
        """The training images, to find neighbours among."""
        return training.pixel_index(self.train, self.extractor.device)

    def measure(self, metrics: Iterable[str], found: Collected) -> dict[str, Estimate]:
        """All values of the named metrics.

        Raises:
            MetricError: too few images for a metric; the message says how many it needs.
        """
        values: dict[str, Estimate] = {}
        for name in metrics:
            values |= MEASURES[name](self, found)
        return values


def least(metric: str, extractor: Extractor) -> int:
    """Images that a metric needs."""
    full_rank = extractor.dim + 1
    return {"fd": full_rank, "fd-infinity": 5 * full_rank, "kd-subsets": SUBSET, "is": 100, "mmr": 1}.get(metric, 20)


def check(metrics: Iterable[str], count: int, judge: Judge) -> None:
    """Raise MetricError before any work where a metric lacks images, a classifier or a data set."""
    for name in metrics:
        if name not in MEASURES:
            raise MetricError(f"unknown metric '{name}': choose from {', '.join(MEASURES)}")
        if count < (needed := least(name, judge.extractor)):
            raise MetricError(
                f"metric '{name}' needs at least {needed} images with {judge.extractor.name}, got {count}"
            )
        if name in ("mmr", "is") and judge.classifier is None:
            raise MetricError(f"metric '{name}' needs --classifier: a network with class logits")
        if name in ("kd", "kd-subsets", "pr", "novelty"):
            _ = judge.data
        if name == "novelty":
            try:
                _ = judge.test and judge.test.images
            except DataError as error:
                raise MetricError(f"metric 'novelty' needs held-out images ({error})") from None


def _note(judge: Judge) -> str:
    split = f"reference: {judge.reference.data.name} {judge.reference.split}" if judge.reference else "given statistics"
    return f"features: {judge.extractor.name} {judge.extractor.sha256[:8]}; {split}"


def _fd(judge: Judge, found: Collected) -> dict[str, Estimate]:
    return {value_name("fd", judge.extractor): frechet_estimate(found.features, judge.gaussian, _note(judge))}


def _fd_infinity(judge: Judge, found: Collected) -> dict[str, Estimate]:
    estimate = fd_infinity(found.features, judge.gaussian, note=_note(judge))
    return {value_name("fd_infinity", judge.extractor): estimate}


def _kd(judge: Judge, found: Collected) -> dict[str, Estimate]:
    sums = KernelSums.of(found.features)
    note = f"{_note(judge)}, {len(judge.data.some)} images"
    return {value_name("kd", judge.extractor): kernel_distance(sums, judge.data.kernel_sums, note)}


def _kd_subsets(judge: Judge, found: Collected) -> dict[str, Estimate]:
    estimate = kernel_distance_subsets(found.features, judge.data.some, size=SUBSET, note=_note(judge))
    return {value_name("kd_subsets", judge.extractor): estimate}


def _pr(judge: Judge, found: Collected) -> dict[str, Estimate]:
    values = precision_recall_density_coverage(Balls.of(found.features), judge.data.balls, _note(judge))
    return {value_name(name, judge.extractor): estimate for name, estimate in values.items()}


def _is(judge: Judge, found: Collected) -> dict[str, Estimate]:
    assert judge.classifier is not None and found.logits is not None
    note = f"classifier: {judge.classifier.name} {judge.classifier.sha256[:8]}"
    return {value_name("is", judge.classifier): inception_score(found.logits, note=note)}


def _mmr(judge: Judge, found: Collected) -> dict[str, Estimate]:
    assert judge.classifier is not None and found.logits is not None
    return mixture_rates(found.logits.softmax(1), f"{judge.classifier.name} {judge.classifier.sha256[:8]}")


def _novelty(judge: Judge, found: Collected) -> dict[str, Estimate]:
    """In pixels, in features (named after the extractor), and duplicates within the sample."""
    train, test = judge.train, judge.test
    assert test is not None
    assert found.pixel_distances is not None and found.pixel_neighbours is not None
    labels = training.labels(train)

    pixels = training.in_pixels(judge.training_pixels, train, test)
    cells = labels[found.pixel_neighbours[:, 0].cpu().numpy()]
    values = novelty_of(found.pixel_distances, found.pixel_neighbours, cells, pixels, "pixels in [0, 1]")

    features = training.in_features(train, test)
    distances, neighbours = features.index.nearest(found.features, 2)
    cells = labels[neighbours[:, 0].cpu().numpy()]
    in_features = novelty_of(distances, neighbours, cells, features, f"features: {judge.extractor.name}")
    values |= {f"{name}[{judge.extractor.name}]": estimate for name, estimate in in_features.items()}

    _, first, times = np.unique(found.digests.cpu().numpy(), return_index=True, return_counts=True)
    repeats = np.ones(len(found.digests), bool)
    repeats[first] = False
    values["duplicates"] = share(repeats, f"byte for byte as an earlier sample; {(times > 1).sum()} images repeat")
    return values


MEASURES = {
    "fd": _fd,
    "fd-infinity": _fd_infinity,
    "kd": _kd,
    "kd-subsets": _kd_subsets,
    "pr": _pr,
    "is": _is,
    "mmr": _mmr,
    "novelty": _novelty,
}
