"""Where along the noise axis a denoiser loses quality.

Held-out images are noised to one level of the sampling grid and denoised again from there. At the lowest levels the
Fréchet distance is that of the held-out images themselves; what it gains from one level to the next, the denoiser loses
between them; at the highest it is that of plain sampling. The same is done at other precisions and with finer grids, so
that rounding and discretisation are seen beside the network's own part.

    python -m benchmark.train.dissect checkpoints/cifar10/denoiser.safetensors --out dissection.json
    torchrun --nproc-per-node 2 -m benchmark.train.dissect ...
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from benchmark.commands import command_line, run_command
from benchmark.data.pixels import to_pixels
from benchmark.networks.checkpoint import load_denoiser, sha256
from benchmark.records import environment
from benchmark.records.files import write_json
from benchmark.train.evaluate import SampleMeasure, edm_levels, problem_features
from benchmark.train.images import as_float, load_split
from benchmark.workers import Workers, gather_rows
from dpmot.progress import progress_bar
from samplers.base import Denoiser
from samplers.errors import UserError
from samplers.heun import Heun
from samplers.noise import ShardNoise

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
BATCH = 1000


@torch.no_grad()
def denoise_from(denoiser: Denoiser, batches: dict[int, Tensor], sigmas: Tensor) -> Tensor:
    """Images in [-1, 1], noised to ``sigmas[0]`` and brought back to 0 by Heun.

    Args:
        batches: number -> images ``[B, C, H, W]``; batch k's noise comes from k alone, whatever the level or denoiser.
    """
    parts = []
    for k, clean in batches.items():
        noise = ShardNoise(0, k, tuple(clean.shape), device=clean.device)
        parts.append(Heun().integrate(denoiser, clean + sigmas[0] * noise.initial(), sigmas, noise))
    return torch.cat(parts)


def plan(levels: Sequence[int], dtypes: Sequence[str], every: int) -> list[tuple[str, int, int]]:
    """(precision, levels of the grid, level to start at): the first grid from all starts, others from the top."""
    starts = [(dtypes[0], levels[0], first) for first in range(0, levels[0], every)]
    return [*starts, *((dtypes[0], n, 0) for n in levels[1:]), *((dtype, levels[0], 0) for dtype in dtypes[1:])]


def dissect(
    checkpoint: Path, problem: str, count: int, runs: Sequence[tuple[str, int, int]], workers: Workers
) -> list[dict[str, Any]]:
    """One entry per run of :func:`plan`: ``fd``, and ``rms`` of pixels in [-1, 1] to the first run where both sample.

    Raises:
        UserError: ``count`` cannot be dealt evenly to the processes, or the split has fewer images.
    """
    held_out = as_float(load_split(problem, "test", workers.device).images)
    batch = min(BATCH, count // workers.count)
    if not 0 < count <= len(held_out) or count % (batch * workers.count):
        raise UserError(
            f"--count must be at most {len(held_out)} and a multiple of {batch * workers.count}, got {count}"
        )
    mine = {k: x for k, x in enumerate(held_out[:count].split(batch)) if k % workers.count == workers.rank}
    train = load_split(problem, "train", workers.device).images
    measure = SampleMeasure(problem_features(problem, workers.device), train, workers, count, ())
    found: list[dict[str, Any]] = [{"sigma": 0.0, "nfe": 0, "fd": measure.distance(torch.cat([*mine.values()]))}]
    first_pixels: Tensor | None = None
    for dtype, levels, first in progress_bar(runs, unit="run", disable=workers.rank > 0):
        denoiser = load_denoiser(checkpoint, workers.device, compute_dtype=DTYPES[dtype])
        sigmas, begun = edm_levels(levels)[first:], time.perf_counter()
        samples = denoise_from(denoiser, mine, sigmas)
        entry = {"sigma": float(sigmas[0]), "levels": levels, "nfe": 2 * len(sigmas) - 3, "dtype": dtype}
        entry |= {"fd": measure.distance(samples), "seconds": round(time.perf_counter() - begun, 2)}
        if first == 0:
            pixels = to_pixels(samples).float() / 127.5
            first_pixels = pixels if first_pixels is None else first_pixels
            entry["rms"] = gather_rows(pixels - first_pixels).square().mean().sqrt().item()
        found.append(entry)
        if workers.rank == 0:
            tqdm.write(" ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in entry.items()))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 2 for what a user can mend."""
    parser = command_line("benchmark.train.dissect", __doc__)
    parser.add_argument("checkpoint", type=Path, help="a denoiser that benchmark.train wrote")
    parser.add_argument("--problem", default="cifar10", help="data set whose test split is noised (default: cifar10)")
    parser.add_argument("--count", type=int, default=10_000, help="images of each run (default: 10000)")
    parser.add_argument("--levels", type=int, nargs="+", default=[18, 40], help="grids; the first is dissected")
    parser.add_argument("--every", type=int, default=2, help="start at every so manieth of its levels (default: 2)")
    parser.add_argument("--dtype", nargs="+", default=["bfloat16", "float32"], choices=sorted(DTYPES))
    parser.add_argument("--device")
    parser.add_argument("--out", type=Path, help="write the record here")
    return run_command(measure, parser.parse_args(arguments))


def measure(a: argparse.Namespace) -> None:
    """Dissect, and write the record where it was asked for."""
    with Workers.joined(a.device) as workers:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # float32 means float32
        record: dict[str, Any] = {"checkpoint": sha256(a.checkpoint), "problem": a.problem, "count": a.count}
        record["environment"] = environment.describe(str(workers.device))
        record["runs"] = dissect(a.checkpoint, a.problem, a.count, plan(a.levels, a.dtype, a.every), workers)
        if a.out and workers.rank == 0:
            write_json(a.out, record)


if __name__ == "__main__":
    sys.exit(main())
