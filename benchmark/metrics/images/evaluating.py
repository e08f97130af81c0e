"""Evaluate anyone's images: from what was asked for to values."""

import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmark.data.arrays import open_images
from benchmark.data.decoding import Decoding
from benchmark.data.reader import Images, read_images
from benchmark.metrics.base import Estimate, MetricError
from benchmark.metrics.evidence import Evidence, Need
from benchmark.metrics.extractors import Extractor, best_available, make_extractor
from benchmark.metrics.frechet import paired_difference
from benchmark.metrics.images import moments
from benchmark.metrics.images.judging import ImageEvidence, Judge
from benchmark.metrics.images.pairing import pairs
from benchmark.metrics.images.reference import Reference
from benchmark.metrics.registry import METRICS, Metric, check, complaint, measure
from benchmark.records.cache import cache_folder
from benchmark.records.hashes import file_sha256
from benchmark.workers import Workers

USUAL_CLASSIFIER = {"cifar10": "cifar10_resnet56"}


@dataclass(frozen=True)
class Task:
    """What to measure with what; `python -m benchmark.evaluate --help` says what each option is."""

    images: Path
    problem: str | None = None
    split: str = "train"
    statistics: Path | None = None
    metrics: list[str] | None = None
    extractor: str | None = None
    weights: Path | None = None
    classifier: str | None = None
    plugin: str | None = None
    against: Path | None = None
    limit: int | None = None
    range: tuple[float, float] | None = None
    allow_unreadable: bool = False
    data: str | None = None
    cache: Path | None = None
    batch: int | None = None
    orientation: Literal["stored", "upright"] = "stored"
    transparency: Literal["stored", "white", "black"] = "stored"

    def open(self, path: Path) -> Images:
        """Open images at a path as the options say; what was done with odd ones is said."""
        images = read_images(
            path,
            limit=self.limit,
            allow_unreadable=self.allow_unreadable,
            value_range=self.range,
            how=Decoding(self.orientation, self.transparency),
        )
        for note in images.notes:
            _say(f"{images.name}: {note}")
        return images


def evaluate(task: Task, workers: Workers) -> tuple[dict[str, Estimate], dict[str, Any]]:
    """Measure what was asked for, or all that applies; also says what it was measured with, JSON-ready.

    Raises:
        UserError: with one line that says what cannot be done.
    """
    if task.plugin:
        try:
            importlib.import_module(task.plugin)
        except ImportError as error:
            raise MetricError(f"--import {task.plugin}: {error}") from None
    images = task.open(task.images)
    if task.against:
        others = task.open(task.against)
        mine, theirs, said = pairs(images, others)  # refuses before any work
    judge = make_judge(task, images, workers)
    batch = task.batch or (1000 if workers.device.type == "cuda" else 100)

    def evidence(some: Images, needs: Iterable[Need] = ()) -> ImageEvidence:
        return ImageEvidence(some, judge, needs, batch, progress=workers.first)

    unseen = evidence(images)
    chosen = check(task.metrics, unseen) if task.metrics else applicable(unseen)
    needs = {need for metric in chosen for need in metric.needs}
    if workers.count > 1:  # one process computes and caches what is missing, the others then read it
        if workers.first:
            judge.prepare(needs)
        workers.wait()
    seen = evidence(images, needs)
    values = measure([metric.name for metric in chosen], seen)
    if task.against:
        other = evidence(others)
        note = f"{task.images.name} less {task.against.name}; {said}"
        difference = paired_difference(seen.features[mine], other.features[theirs], judge.moments, note)
        values[f"fd_difference[{judge.extractor.name}]"] = difference
    distinct = len(np.unique(seen.digests))
    if distinct < images.count:
        _say(f"{images.name}: only {distinct} of {images.count} images are different")
    return values, describe(task, judge, images) | {"distinct": distinct}


def describe(task: Task, judge: Judge, images: Images) -> dict[str, Any]:
    """Say what was measured with what, JSON-ready: all that the values depend on, and what was done with odd images."""
    return {
        **judge.extractor.describe(),
        "classifier": judge.classifier.describe() if judge.classifier else None,
        "reference": judge.reference.describe() if judge.reference else None,
        "statistics_sha256": file_sha256(task.statistics) if task.statistics else None,
        "images": images.count,
        "notes": list(images.notes),
        "left_out": list(images.left_out),
        "path": str(task.images),
    }


def make_judge(task: Task, images: Images, workers: Workers) -> Judge:
    """Gather what the task says to measure with; says so where Inception was wanted and cannot be obtained."""
    extractor = _extractor(task, workers)
    if not task.problem:
        if not task.statistics:
            raise MetricError("nothing to compare with: give --problem NAME or --statistics FILE.npz")
        return Judge(extractor, None, moments.read(task.statistics, extractor))
    data, cache = open_images(task.problem, task.data), task.cache or cache_folder()
    reference, test = (Reference(data, split, extractor, cache, workers.first) for split in (task.split, "test"))
    if images.size != reference.images.size:
        sizes = ["×".join(map(str, size)) for size in (images.size, reference.images.size)]
        raise MetricError(f"images are {sizes[0]}, those of {data.name} are {sizes[1]}")
    wanted = {key: value for key, value in reference.describe().items() if key.startswith(("data", "split"))}
    given = moments.read(task.statistics, extractor, wanted) if task.statistics else None
    return Judge(extractor, reference, given, _classifier(task, extractor, workers), test)


def _extractor(task: Task, workers: Workers) -> Extractor:
    """The extractor asked for, Inception where weights alone are given, else the best that there is."""
    if task.extractor or task.weights:
        return make_extractor(task.extractor or "inception", task.weights, workers.device)
    extractor, said = best_available(workers.device)
    if workers.first:
        _say(said)
    return extractor


def _classifier(task: Task, extractor: Extractor, workers: Workers) -> Extractor | None:
    """The classifier asked for; the usual one of the data set where its weights are at hand."""
    name = task.classifier or USUAL_CLASSIFIER.get(task.problem or "")
    if name is None or name == extractor.name:
        return extractor if name else None
    try:
        return make_extractor(name, None, workers.device)
    except MetricError:
        if task.classifier:
            raise
        return None


def applicable(evidence: Evidence) -> list[Metric]:
    """Choose the usual metrics that can be had with what there is; those that are left out are named.

    Raises:
        MetricError: there is none.
    """
    chosen = []
    for entry in METRICS.available().values():
        if entry.item.usual:
            if (said := complaint(entry.item, evidence)) is None:
                chosen.append(entry.item)
            else:
                _say(f"left out: {said}")
    if not chosen:
        raise MetricError("no metric applies")
    return chosen


def _say(line: str) -> None:
    print(line, file=sys.stderr)
