"""How fast the CIFAR-10 denoiser trains and samples, beside the plain matrix product of the same GPUs.

    python -m benchmark.train.speed --save speed-1gpu.json
    torchrun --nproc-per-node 2 -m benchmark.train.speed --save speed-2gpu.json

The floor is arithmetic: floating-point operations of the network (forward, and three times that in training) at the
rate of a bf16 matrix product measured in the same run. Images are random bytes: their content does not change the time.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.flop_counter import FlopCounterMode

from benchmark.commands import command_line, run_command
from benchmark.networks.replay import Replayed
from benchmark.networks.unet import Denoiser, UNet, UNetConfig
from benchmark.records import environment
from benchmark.records.files import write_json
from benchmark.train.recipes import DENOISERS
from benchmark.train.stepping import DenoiserTraining
from benchmark.workers import Workers
from samplers.errors import UserError

SIDE = 8192


def per_second(work: Callable[[], Any], seconds: float, workers: Workers) -> float:
    """Calls of ``work`` a second, over about ``seconds`` after a warm-up; all processes make as many calls."""

    def timed(calls: int) -> float:
        workers.wait()
        begun = time.perf_counter()
        for _ in range(calls):
            work()
        workers.wait()
        return time.perf_counter() - begun

    timed(6)
    calls = torch.tensor(max(10, int(10 * seconds / timed(10))), device=workers.device)
    if workers.count > 1:
        dist.broadcast(calls, 0)
    return int(calls) / timed(int(calls))


def forward_flops(config: UNetConfig) -> int:
    """Floating-point operations of one forward pass on one 32×32 image (2 for a multiplication with its addition)."""
    with torch.device("meta"):
        network = UNet(config)
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, config.image_channels, 32, 32), torch.empty(1))
    return counter.get_total_flops()


def measure(workers: Workers, seconds: float, batch: int) -> dict[str, Any]:
    """Rates of this machine, over all processes; TFLOP/s for each of them."""
    recipe = DENOISERS["cifar10"]
    flops = forward_flops(recipe.network)
    images = torch.randint(0, 256, (50_000, 3, 32, 32), dtype=torch.uint8, device=workers.device)
    a, b = (torch.randn(SIDE, SIDE, device=workers.device, dtype=torch.bfloat16) for _ in range(2))
    matmul = per_second(lambda: a @ b, seconds / 3, workers) * 2 * SIDE**3
    training = DenoiserTraining(recipe, images, workers)
    trained = per_second(training.train_step, seconds, workers) * recipe.batch
    denoiser = Denoiser(training.average.network, torch.bfloat16).eval()
    x, sigma = torch.randn(batch, 3, 32, 32, device=workers.device), torch.tensor(1.0, device=workers.device)

    @torch.no_grad()
    def evaluate() -> None:
        denoiser(x, sigma)

    evaluated = per_second(Replayed(evaluate, workers.device), seconds, workers) * batch
    return {
        "processes": workers.count,
        "gflop_forward": flops / 1e9,
        "matmul_tflops": matmul / 1e12,
        "training_images_per_second": trained,
        "training_tflops": trained / workers.count * 3 * flops / 1e12,
        "evaluations_per_second": evaluated * workers.count,
        "evaluations_tflops": evaluated * flops / 1e12,
        "peak_gib": torch.cuda.max_memory_allocated(workers.device) / 2**30,
        "environment": environment.describe(str(workers.device)),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 2 for what a user can mend."""
    parser = command_line("benchmark.train.speed", __doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement (default: 8)")
    parser.add_argument("--batch", type=int, default=2000, help="images of one evaluation (default: 2000)")
    parser.add_argument("--save", type=Path, help="write the record here")
    return run_command(show, parser.parse_args(arguments))


def show(a: argparse.Namespace) -> None:
    """Measure, print, and write the record where it was asked for."""
    if not torch.cuda.is_available():
        raise UserError("the rates are those of a CUDA GPU, and there is none")
    with Workers.joined() as workers:
        found = measure(workers, a.seconds, a.batch)
    if workers.rank == 0:
        print(f"matmul {found['matmul_tflops']:.0f} TFLOP/s")
        for what, rate in (("training", "training_images_per_second"), ("evaluations", "evaluations_per_second")):
            print(f"{what}: {found[rate]:,.0f} a second, {found[f'{what}_tflops'] / found['matmul_tflops']:.0%} of it")
        if a.save:
            write_json(a.save, found)


if __name__ == "__main__":
    sys.exit(main())
