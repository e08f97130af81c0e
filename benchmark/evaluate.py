"""Measure anyone's samples with the metrics of this suite.

    python -m benchmark.evaluate samples.npz --problem cifar10
    python -m benchmark.evaluate folder/ --problem cifar10 --metrics fd kd pr novelty --extractor mobilenet_v2
    python -m benchmark.evaluate samples.npz --statistics cifar10-32x32.npz --metrics fd --extractor inception
    torchrun --nproc-per-node 8 -m benchmark.evaluate samples.npz --problem cifar10

IMAGES is a folder or zip of images, or a .npz or .npy array [N, H, W, 3] (bytes, or floats with --range).
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmark.commands import command_line, positive, run_command
from benchmark.data.arrays import open_images
from benchmark.metrics.base import Estimate, MetricError
from benchmark.metrics.estimation.extrapolation import paired_difference
from benchmark.metrics.extractors import EXTRACTORS, Extractor, best_available, make_extractor
from benchmark.metrics.images import moments, training
from benchmark.metrics.images.collect import Collected, collect
from benchmark.metrics.images.judging import MEASURES, Judge, check
from benchmark.metrics.images.reference import Reference
from benchmark.metrics.images.samples import Images, open_samples
from benchmark.records.cache import cache_folder
from benchmark.records.files import write_json
from benchmark.workers import Workers


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = command_line("benchmark.evaluate", __doc__)
    usual = ", ".join([*EXTRACTORS, "torch-fidelity:NAME"])
    add = p.add_argument
    add("images", type=Path, metavar="IMAGES")
    add("--problem", help="data set to compare with, under the data root (cifar10, ...)")
    add("--split", default="train", help="its split that distances are to (default: train, as for FID)")
    add("--statistics", type=Path, help=".npz of published or saved reference statistics (mu and sigma, or pool_3)")
    add("--metrics", nargs="+", help=f"of {', '.join(MEASURES)} (default: all that apply)")
    add("--extractor", help=f"{usual} (default: inception, or mobilenet_v2 where it can't be had)")
    add("--weights", type=Path, help="file of the extractor's weights, instead of a download")
    add("--classifier", help="network of class logits for mmr and is (default on cifar10: cifar10_resnet56)")
    add("--import", dest="plugin", help="module to import first: it may register extractors with torch-fidelity")
    add("--against", type=Path, help="another sampler's images from the same noise: paired difference of FD")
    add("--limit", type=positive, help="use the first so many images")
    add("--range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="black and white in arrays of floats")
    add("--allow-unreadable", action="store_true", help="leave unreadable images out instead of refusing")
    add("--data", help="data root (default: $DPMOT_DATA)")
    add("--cache", type=Path, help="folder of cached reference features (default: $DPMOT_CACHE, else ~/.cache/dpmot)")
    add("--device", help="cpu, cuda ... (default: a GPU if there is one)")
    add("--batch", type=positive, help="images at a time (default: 1000 on a GPU, 100 on a CPU)")
    add("--out", type=Path, help="write the values as JSON to this file")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0, 2 for a user's mistake, which is named in one line, 130 interrupted."""
    return run_command(
        measure,
        parser().parse_args(arguments),
        interrupted="features of references that are finished are kept",
    )


def measure(options: argparse.Namespace) -> None:
    """Measure on all processes; the first prints the values and writes them where asked to."""
    with Workers.joined(options.device) as workers:
        values, description = evaluate(options, workers)
        if workers.first:
            show(values)
            if options.out:
                write_json(options.out, {**description, "metrics": {name: asdict(e) for name, e in values.items()}})


def evaluate(options: argparse.Namespace, workers: Workers) -> tuple[dict[str, Estimate], dict[str, object]]:
    """Values of all metrics asked for, and what they were made with."""
    images = _open(options.images, options)
    judge = make_judge(options, images, workers)
    metrics = options.metrics or _applicable(judge, images)
    check(metrics, images.count, judge)
    if workers.count > 1:  # one process computes and caches what is missing, the others then read it
        if workers.first:
            _prepare(judge, metrics)
        workers.wait()
    found = _collect(images, judge, metrics, options, workers)
    values = judge.measure(metrics, found)
    if options.against:
        other = _collect(_open(options.against, options), judge, ["fd"], options, workers)
        name = f"fd_difference[{judge.extractor.name}]"
        note = f"{options.images.name} less {options.against.name}"
        values[name] = paired_difference(found.features, other.features, judge.gaussian, note)
    classifier = judge.classifier.describe() if judge.classifier else None
    description = {**judge.extractor.describe(), "classifier": classifier, "images": images.count}
    return values, {**description, "left_out": list(images.left_out), "path": str(options.images)}


def make_judge(options: argparse.Namespace, images: Images, workers: Workers) -> Judge:
    """What the options say to measure with; says so where Inception was wanted and can't be had."""
    if options.plugin:
        try:
            importlib.import_module(options.plugin)
        except ImportError as error:
            raise MetricError(f"--import {options.plugin}: {error}") from None
    if options.extractor:
        extractor = make_extractor(options.extractor, options.weights, workers.device)
    elif options.weights:
        extractor = make_extractor("inception", options.weights, workers.device)
    else:
        extractor, said = best_available(workers.device)
        if workers.first:
            print(said, file=sys.stderr)
    if not options.problem:
        if not options.statistics:
            raise MetricError("nothing to compare with: give --problem NAME or --statistics FILE.npz")
        return Judge(extractor, None, moments.read(options.statistics, extractor))
    data = open_images(options.problem, options.data)
    cache = options.cache or cache_folder()
    reference = Reference(data, options.split, extractor, cache, workers.first)
    if images.size != reference.images.size:
        sizes = ["×".join(map(str, size)) for size in (images.size, reference.images.size)]
        raise MetricError(f"images are {sizes[0]}, those of {data.name} are {sizes[1]}")
    test = Reference(data, "test", extractor, cache, workers.first)
    wanted = {"data": data.name, "split": options.split}
    given = moments.read(options.statistics, extractor, wanted) if options.statistics else None
    return Judge(extractor, reference, given, _classifier(options, extractor, workers), test)


def _classifier(options: argparse.Namespace, extractor: Extractor, workers: Workers) -> Extractor | None:
    """The classifier asked for; the usual one on CIFAR-10 where its weights are at hand."""
    name = options.classifier or ("cifar10_resnet56" if options.problem == "cifar10" else None)
    if name is None or name == extractor.name:
        return extractor if name else None
    try:
        return make_extractor(name, None, workers.device)
    except MetricError:
        if options.classifier:
            raise
        return None


def _applicable(judge: Judge, images: Images) -> list[str]:
    """Metrics that can be had with what there is; those that were left out are named."""
    chosen, left_out = [], []
    for name in ("fd", "kd", "pr", "is", "mmr", "novelty"):
        try:
            check([name], images.count, judge)
            chosen.append(name)
        except MetricError as error:
            left_out.append(str(error))
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)
    if not chosen:
        raise MetricError("no metric applies")
    return chosen


def _prepare(judge: Judge, metrics: Sequence[str]) -> None:
    if set(metrics) & {"fd", "fd-infinity"}:
        _ = judge.gaussian
    if set(metrics) & {"kd", "kd-subsets", "pr"}:
        _ = judge.data.features
    if "novelty" in metrics and judge.test is not None:
        training.in_features(judge.train, judge.test)
        training.in_pixels(judge.training_pixels, judge.train, judge.test)


def _open(path: Path, options: argparse.Namespace) -> Images:
    value_range = tuple(options.range) if options.range else None
    images = open_samples(path, options.limit, options.allow_unreadable, value_range)
    if images.left_out:
        print(f"{len(images.left_out)} unreadable images left out: {', '.join(images.left_out[:5])}", file=sys.stderr)
    return images


def _collect(
    images: Images, judge: Judge, metrics: Sequence[str], options: argparse.Namespace, workers: Workers
) -> Collected:
    batch = options.batch or (1000 if workers.device.type == "cuda" else 100)
    classifier = judge.classifier if {"mmr", "is"} & set(metrics) else None
    pixels = judge.training_pixels if "novelty" in metrics else None
    return collect(images, judge.extractor, classifier, pixels, batch, progress=workers.first)


def show(values: dict[str, Estimate]) -> None:
    """Print a table of values with their intervals."""
    width = max(map(len, values))
    for name, e in values.items():
        interval = "" if e.low is None or e.high is None else f"[{e.low:.5g}, {e.high:.5g}]"
        print(f"{name:{width}}  {e.value:<10.5g} {interval}")
    for note in dict.fromkeys(e.note for e in values.values()):
        print(f"  - {note}")


if __name__ == "__main__":
    raise SystemExit(main())
