"""Measure anyone's samples with the metrics of this suite.

    python -m benchmark.evaluate samples.npz --problem cifar10
    python -m benchmark.evaluate folder/ --problem cifar10 --metrics fd kd pr novelty --extractor mobilenet_v2
    python -m benchmark.evaluate samples.npz --statistics cifar10-32x32.npz --metrics fd --extractor inception
    torchrun --nproc-per-node 8 -m benchmark.evaluate samples.npz --problem cifar10

IMAGES is a folder, zip or tar of images, or a .npz or .npy array [N, H, W, 3] (bytes, or floats with --range).
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmark.commands import command_line, positive, run_command
from benchmark.data.decoding import add_decoding
from benchmark.metrics import extractors
from benchmark.metrics.base import Estimate
from benchmark.metrics.images.evaluating import Task, evaluate
from benchmark.metrics.registry import METRICS
from benchmark.records.files import write_json
from benchmark.records.store import writable
from benchmark.workers import Workers


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = command_line("benchmark.evaluate", __doc__)
    networks = ", ".join(extractors.names())
    add = p.add_argument
    add("images", type=Path, metavar="IMAGES")
    add("--problem", help="data set to compare with, under the data root (cifar10, ...)")
    add("--split", default="train", help="its split that distances are to (default: train, as for FID)")
    add("--statistics", type=Path, help=".npz of published or saved reference statistics (mu and sigma, or pool_3)")
    add("--metrics", nargs="+", help=f"of {', '.join(METRICS.available())} (default: all that apply)")
    add("--extractor", help=f"{networks} (default: inception, or mobilenet_v2 where it cannot be obtained)")
    add("--weights", type=Path, help="file of the extractor's weights, instead of a download")
    add(
        "--classifier",
        help="network of class logits, for modes and the Inception score (default on cifar10: cifar10_resnet56)",
    )
    add("--import", dest="plugin", help="module to import first: it may register extractors with torch-fidelity")
    add("--against", type=Path, help="another sampler's images from the same noise: paired difference of FD")
    add("--limit", type=positive, help="use the first so many images")
    add("--range", type=float, nargs=2, metavar=("LOW", "HIGH"), help="black and white in arrays of floats")
    add("--allow-unreadable", action="store_true", help="leave unreadable images out instead of refusing")
    add_decoding(p)
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
    if options.out:
        writable(options.out.absolute().parent)  # said before the work
    task = Task(**{name: value for name, value in vars(options).items() if name not in ("device", "out")})
    with Workers.joined(options.device) as workers:
        values, description = evaluate(task, workers)
        if workers.first:
            show(values)
            if options.out:
                write_json(options.out, {**description, "metrics": {name: asdict(e) for name, e in values.items()}})


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
