"""Time 50,000 images through an extractor and all metrics, and compare several GPUs with one.

    python -m benchmark.metrics.checks.speed [--count 50000] [--limit-seconds 30]
    python -m benchmark.metrics.checks.speed --save one.json
    torchrun --nproc-per-node 4 -m benchmark.metrics.checks.speed --compare one.json --save four.json

The images are CIFAR-10's training images under noise of 8 grey levels; the reference's features are computed (and
cached) before the clock starts. Two passes: the first warms up. Prints seconds of either stage, and the peak memory;
--save also keeps them, with the values and the machine.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark import metrics
from benchmark.commands import command_line, run_command
from benchmark.data.arrays import open_images
from benchmark.data.reader import Images, from_array
from benchmark.metrics.base import Estimate
from benchmark.metrics.checks.corrupting import noise
from benchmark.metrics.evidence import Need
from benchmark.metrics.extractors import make_extractor
from benchmark.metrics.images.judging import ImageEvidence, Judge
from benchmark.metrics.images.reference import Reference
from benchmark.records import environment
from benchmark.records.cache import cache_folder
from benchmark.records.files import write_json
from benchmark.workers import Workers

METRICS = ("fd", "kd", "pr", "is", "mode_mixture", "novelty", "duplicates")
NEEDS: tuple[Need, ...] = ("moments", "reference features", "posterior", "training set")
TOLERANCE = 1e-6


def prepare(device: torch.device, extractor: str, classifier: str, progress: bool) -> Judge:
    """The judge with everything of the reference computed."""
    data, network = open_images("cifar10"), make_extractor(extractor, device=device)
    train, test = (Reference(data, split, network, cache_folder(), progress) for split in ("train", "test"))
    judge = Judge(network, train, None, make_extractor(classifier, device=device), test)
    judge.prepare(NEEDS)
    return judge


def timed(judge: Judge, images: Images, batch: int, device: torch.device) -> tuple[float, float, dict[str, Estimate]]:
    """Seconds of the pass over the images, seconds of the metrics, values."""
    marks = [_now(device)]
    evidence = ImageEvidence(images, judge, NEEDS, batch)
    _ = evidence.seen
    marks.append(_now(device))
    values = metrics.measure(METRICS, evidence)
    marks.append(_now(device))
    return marks[1] - marks[0], marks[2] - marks[1], values


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def furthest(values: dict[str, Estimate], others: dict[str, float]) -> tuple[float, str]:
    """The largest relative difference between two sets of values, and where it is."""
    return max((abs(e.value - others[name]) / max(abs(others[name]), 1e-12), name) for name, e in values.items())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the measurement; 0 if it kept the limit and agreed with the values compared with."""
    parser = command_line("benchmark.metrics.checks.speed", main.__doc__)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--extractor", default="mobilenet_v2")
    parser.add_argument("--classifier", default="cifar10_resnet56")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--limit-seconds", type=float, default=30.0)
    parser.add_argument("--save", type=Path, help="write the values, to compare another run with")
    parser.add_argument("--compare", type=Path, help="values of another run: must agree to 1e-6 relative")
    return run_command(check, parser.parse_args(arguments))


def check(a: argparse.Namespace) -> int:
    """Time two passes and compare; 0 if the second kept the limit and agreed."""
    with Workers.joined(a.device) as workers:
        judge = prepare(workers.device, a.extractor, a.classifier, workers.first)
        pixels = np.array(open_images("cifar10").images("train")[: a.count])
        images = from_array(noise(pixels, 8.0, np.random.default_rng(0)), "noisy")
        for attempt in ("warm-up", "measured"):
            looking, measuring, values = timed(judge, images, a.batch, workers.device)
            if workers.first:
                print(f"{attempt}: {images.count} images, {looking:.2f} s + metrics {measuring:.2f} s", flush=True)
        good = looking + measuring <= a.limit_seconds
        record: dict[str, Any] = {"images": images.count, "extractor": a.extractor, "classifier": a.classifier}
        record |= {"processes": workers.count, "extracting_seconds": looking, "measuring_seconds": measuring}
        record["environment"] = environment.describe(str(workers.device))
        if workers.device.type == "cuda":
            record["peak_gib"] = torch.cuda.max_memory_allocated(workers.device) / 2**30
            print(f"peak memory {record['peak_gib']:.2f} GiB on {workers.device}")
        if a.compare:
            difference, where = furthest(values, json.loads(a.compare.read_text())["values"])
            good &= difference <= TOLERANCE
            print(f"largest relative difference {difference:.2e} ({where})")
            record["largest_relative_difference"] = difference
        if a.save and workers.first:
            record["values"] = {name: e.value for name, e in values.items()}
            write_json(a.save, record)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
