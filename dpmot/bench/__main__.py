"""Benchmark of semi-discrete OT solvers: `python -m dpmot.bench race|solve|kernel|report`.

race    dpmot and every peer on the same targets, judged by the same certificate: time to TV ≤ 10, 5, 2, 1%
solve   dpmot alone, at any size; under torchrun on several GPUs
kernel  rates of the Triton kernel against the plain matrix product and PyTorch's three steps
report  table and figures from the records in --out
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from . import plane, race, rates, report
from .targets import latents


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except (ValueError, OSError, MemoryError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _race(a: argparse.Namespace) -> None:
    targets, name = latents(a.targets, a.sigma, a.data, a.dataset, device=_device(a))
    print(f"{name}: N = {len(targets):,}, d = {targets.shape[1]:,}, on {_machine()['device']}")
    # The first launches compile kernels; a solve at another seed keeps that out of everybody's time.
    race.ours(targets, (0.3,), seed=1)
    records = race.ours(targets, tuple(a.tv)) + race.peers(targets, a.budget, a.peers, until=min(a.tv))
    _store(a, f"race-{a.dataset}-n{a.targets}-s{a.sigma:g}", {"problem": _describe(a, name, targets), "runs": records})


def _solve(a: argparse.Namespace) -> None:
    rank = int(os.environ.get("LOCAL_RANK", 0))
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world > 1:
        torch.cuda.set_device(rank)
        dist.init_process_group("nccl", device_id=torch.device("cuda", rank))
    targets, name = latents(a.targets, a.sigma, a.data, a.dataset, side=a.side, device=_device(a))
    race.ours(targets, (0.3,), seed=1)
    records = race.ours(targets, tuple(a.tv))
    if rank == 0:
        label = f"solve-{a.dataset}-n{a.targets}-d{targets.shape[1]}-s{a.sigma:g}-gpus{world}"
        _store(a, label, {"problem": _describe(a, name, targets), "runs": records, "ranks": world})
    if world > 1:
        dist.destroy_process_group()


def _kernel(a: argparse.Namespace) -> None:
    if not torch.cuda.is_available():
        raise ValueError("the kernel's rates need a CUDA GPU")
    records = []
    for dim in a.dims:
        record = rates.measure([(16384 if dim > 512 else 32768, a.targets, dim)])[0]
        records.append(record)
        print(
            f"d = {dim}: kernel {record['kernel_tflops']:.0f} TFLOP/s, matmul {record['matmul_tflops']:.0f} "
            f"({record['of_matmul']:.0%} of it), matmul + add + argmax {record['torch_tflops']:.0f} "
            f"({record['over_torch']:.1f} times slower)"
        )
    _store(a, f"kernel-n{a.targets}", {"runs": records})


def _report(a: argparse.Namespace) -> None:
    for path in [*report.write(a.out), *plane.draw(a.out)]:
        print(path)


def _describe(a: argparse.Namespace, name: str, targets: torch.Tensor) -> dict[str, Any]:
    return {"targets": name, "n": len(targets), "d": targets.shape[1], "sigma": a.sigma, "source": "N(0, I)"}


def _store(a: argparse.Namespace, label: str, record: dict[str, Any]) -> None:
    a.out.mkdir(parents=True, exist_ok=True)
    record = {**record, "machine": _machine(), "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    aside = a.out / f".{label}.{os.getpid()}"
    aside.write_text(json.dumps(record, indent=1))
    aside.replace(a.out / f"{label}.json")
    print(a.out / f"{label}.json")


def _machine() -> dict[str, Any]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return {"device": device, "torch": torch.__version__, "python": platform.python_version()}


def _device(a: argparse.Namespace) -> str:
    return a.device or ("cuda" if torch.cuda.is_available() else "cpu")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dpmot.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, text in (
        ("race", _race, "against the other solvers"),
        ("solve", _solve, "dpmot alone; also under torchrun"),
        ("kernel", _kernel, "rates of the GPU kernel"),
        ("report", _report, "table and figure from the records"),
    ):
        command = commands.add_parser(name, help=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        command.set_defaults(run=run)
        command.add_argument("--out", type=Path, default=Path("results/ot"), help="folder of the records")
        if name == "report":
            continue
        command.add_argument("--targets", type=int, default=2000, metavar="N", help="number of targets")
        if name == "kernel":
            command.add_argument("--dims", type=int, nargs="+", default=[64, 128, 256, 3072], help="inner dimensions")
            continue
        command.add_argument("--sigma", type=float, default=0.0139, help="noise of the latents, in the [0, 1] range")
        command.add_argument("--data", help="root of the data; $DPMOT_DATA otherwise; synthetic images without either")
        command.add_argument("--dataset", default="cifar10", help="folder under the root")
        command.add_argument("--tv", type=float, nargs="+", default=list(race.LEVELS), help="levels to certify")
        command.add_argument("--device", help="cpu, cuda ...; a GPU if there is one")
        if name == "solve":
            command.add_argument("--side", type=int, default=32, help="images are enlarged to side × side pixels")
        else:
            command.add_argument("--budget", type=float, default=60, help="seconds for each peer and setting")
            command.add_argument("--peers", nargs="+", metavar="NAME", help=f"only these of {list(race.PEERS)}")
    return parser


if __name__ == "__main__":
    sys.exit(main())
