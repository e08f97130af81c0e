"""Benchmark of semi-discrete OT solvers: `python -m dpmot.bench race|solve|kernel|maps|report`.

race    dpmot and every peer on the same targets, judged by the same certificate: time to TV ≤ 10, 5, 2, 1%
solve   dpmot alone, at any size; under torchrun on several GPUs
kernel  rates of the Triton kernel in fp16, bf16, TF32 against the plain matrix product and PyTorch's three steps
maps    rates of the hard, top-k and softmax maps against the bare assignment
report  table and figures from the records in --out

Records are written anew after every run of a solver: what is interrupted loses the run in hand. The published ones are
in results/ot: `report --out results/ot` makes their tables and figures.
"""

import argparse
import json
import os
import re
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from ..machine import describe, pinned
from ..scores.ranks import usable
from . import race
from .targets import SYNTHETIC, latents

OURS = 0.4  # dpmot's part of --limit at most
WORK = 0.7  # the peers' own part of what is left: the rest is for imports, compiling, and the judge


class CommandLine(argparse.ArgumentParser):
    """A parser whose complaints are one line; its subcommands' too."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"error: {message} ({self.prog} --help explains)\n")


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except (ValueError, OSError, MemoryError, torch.OutOfMemoryError) as error:
        print(f"error: {(str(error).strip() or type(error).__name__).splitlines()[0]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _race(a: argparse.Namespace) -> None:
    settings, suffix, levels, begun = race.settings(a.peers), _suffix(a), tuple(a.tv), time.monotonic()
    with pinned(a.threads, _device(a)):
        for done, sigma in enumerate(a.sigma):
            limit = (a.limit - (time.monotonic() - begun)) / (len(a.sigma) - done) if a.limit else float("inf")
            _race_at(a, sigma, suffix, settings, levels, time.monotonic() + limit)


def _suffix(a: argparse.Namespace) -> str:
    """What sets the record of some peers apart: --label, or their names. ValueError if too long for a file's name."""
    words = [a.label] if a.label else a.peers or []
    parts = [re.sub(r"[^a-z0-9.]+", "-", word.lower()).strip("-.") for word in words]
    if not all(parts):
        raise ValueError(f"--label needs letters or digits, got {a.label!r}")
    suffix = "".join(f"-{part}" for part in parts)
    if len(suffix) > 150:
        raise ValueError(f"the peers' names are too long for a file's ({len(suffix)} characters); give --label")
    return suffix


def _race_at(
    a: argparse.Namespace, sigma: float, suffix: str, settings: list[tuple[str, str]], levels: tuple[float, ...],
    deadline: float,
) -> None:  # fmt: skip
    targets, name = latents(a.targets, sigma, a.data, a.dataset, device=_device(a))
    problem, record = _problem(sigma, name, targets), {"limit": a.limit, "levels": levels, "label": a.label}
    print(f"{name}: N = {len(targets):,}, d = {targets.shape[1]:,}", flush=True)
    race.warm_up(targets, levels)
    label, runs = f"race-{_kind(a, name)}-n{a.targets}-s{sigma:g}{suffix}", []
    for run in race.ours(targets, levels, seconds=OURS * (deadline - time.monotonic())):
        print(f"  dpmot, TV ≤ {run['level']:g}: {run['seconds']:.2f} s, {run.pop('summary')}", flush=True)
        runs.append(run)
        _store(a, label, {"problem": problem, "runs": runs, **record})
    budget = min(a.budget, max(WORK * (deadline - time.monotonic()) / max(len(settings), 1), 0.0))
    print(f"  every peer and setting has {budget:.1f} s of its own", flush=True)
    for peer, setting in settings:
        if time.monotonic() > deadline:
            print(f"  the time limit left out {peer}, {setting}, and what follows", flush=True)
            break
        run = race.peer(targets, peer, setting, budget, levels, deadline)
        best = min((point["judge"]["tv_bound"] for point in run["curve"]), default=float("nan"))
        print(f"  {peer}, {setting}: TV ≤ {best:.3f} after {run['seconds']:.1f} s {run['error'] or ''}", flush=True)
        runs.append(run)
        _store(a, label, {"problem": problem, "runs": runs, "budget": budget, **record})
    print(a.out / f"{label}.json")


def _solve(a: argparse.Namespace) -> None:
    rank, world = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    on_gpu = torch.device(_device(a)).type == "cuda"
    if world > 1 and on_gpu:
        torch.cuda.set_device(rank)
        dist.init_process_group("nccl", device_id=torch.device("cuda", rank))
    elif world > 1:
        dist.init_process_group("gloo")
    try:
        for sigma in a.sigma:
            _solve_at(a, sigma, world, first=int(os.environ.get("RANK", 0)) == 0)
    finally:
        if world > 1:
            dist.destroy_process_group()


def _solve_at(a: argparse.Namespace, sigma: float, world: int, first: bool) -> None:
    targets, name = latents(a.targets, sigma, a.data, a.dataset, side=a.side, device=_device(a))
    kind = "gpus" if targets.is_cuda else "cpus"
    layout = "sharded" if a.shard else ""
    label = f"solve-{_kind(a, name)}-n{a.targets}-d{targets.shape[1]}-s{sigma:g}-{kind}{world}{layout}"
    options = {"shard_targets": True} if a.shard else {}
    race.warm_up(targets, tuple(a.tv), **options)
    runs = []
    for run in race.ours(targets, tuple(a.tv), **options):
        runs.append(run)
        if first:
            print(f"{name}, TV ≤ {run['level']:g}: {run['seconds']:.2f} s, {run.pop('summary')}", flush=True)
            _store(
                a, label, {"problem": _problem(sigma, name, targets), "runs": runs, "ranks": world, "sharded": a.shard}
            )
    if first:
        print(a.out / f"{label}.json")


def _kernel(a: argparse.Namespace) -> None:
    if not torch.cuda.is_available():
        raise ValueError("the kernel's rates need a CUDA GPU")
    usable("cuda")
    from . import rates

    records = []
    for dim, dtype in product(a.dims, (torch.float16, torch.bfloat16, torch.float32)):
        record = rates.measure(16384 if dim > 512 else 32768, a.targets, dim, dtype)
        records.append(record)
        print(
            f"d = {dim}, {record['dtype']}: kernel {record['kernel_tflops']:.0f} TFLOP/s, matmul "
            f"{record['matmul_tflops']:.0f} ({record['of_matmul']:.0%} of it), matmul + add + argmax "
            f"{record['torch_tflops']:.0f} ({record['over_torch']:.1f} times slower)",
            flush=True,
        )
        _store(a, f"kernel-n{a.targets}", {"runs": records})
    print(a.out / f"kernel-n{a.targets}.json")


def _maps(a: argparse.Namespace) -> None:
    from . import rates

    records = []
    for sigma in a.sigma:
        targets, name = latents(a.targets, sigma, a.data, a.dataset, device=_device(a))
        print(f"{name}: N = {len(targets):,}, d = {targets.shape[1]:,}, {a.rows:,} samples", flush=True)
        for record in rates.maps(targets, a.rows):
            print(
                f"  {record['map']}: {record['per_second']:,.0f} samples/s, {record['tflops']:.3g} TFLOP/s, "
                f"{record['of_assign']:.0%} of the bare assignment",
                flush=True,
            )
            records.append({**_problem(sigma, name, targets), **record})
            _store(a, label := f"maps-{_kind(a, name)}-n{a.targets}", {"runs": records})
    print(a.out / f"{label}.json")


def _report(a: argparse.Namespace) -> None:
    from . import plane, report

    for path in [*report.write(a.out), *plane.draw(a.out)]:
        print(path)


def _kind(a: argparse.Namespace, name: str) -> str:
    """What the targets are, in the name of a file."""
    return "synthetic" if name.startswith(SYNTHETIC) else a.dataset


def _problem(sigma: float, name: str, targets: torch.Tensor) -> dict[str, Any]:
    return {"targets": name, "n": len(targets), "d": targets.shape[1], "sigma": sigma, "source": "N(0, I)"}


def _store(a: argparse.Namespace, label: str, record: dict[str, Any]) -> None:
    a.out.mkdir(parents=True, exist_ok=True)
    finished = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    record = {**record, "machine": describe(_device(a)), "finished": finished}
    aside = a.out / f".{label}.{os.getpid()}"
    aside.write_text(json.dumps(record, indent=1))
    aside.replace(a.out / f"{label}.json")


def _device(a: argparse.Namespace) -> str:
    return str(usable(getattr(a, "device", None) or ("cuda" if torch.cuda.is_available() else "cpu")))


def _parser() -> argparse.ArgumentParser:
    parser = CommandLine(
        prog="python -m dpmot.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, text in (
        ("race", _race, "against the other solvers"),
        ("solve", _solve, "dpmot alone; also under torchrun"),
        ("kernel", _kernel, "rates of the GPU kernel"),
        ("maps", _maps, "rates of the maps"),
        ("report", _report, "table and figure from the records"),
    ):
        command = commands.add_parser(name, help=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        command.set_defaults(run=run)
        command.add_argument("--out", type=Path, default=Path("local-results/ot"), help="folder of the records")
        if name == "report":
            continue
        command.add_argument("--targets", type=int, default=2000, metavar="N", help="number of targets")
        if name == "kernel":
            command.add_argument("--dims", type=int, nargs="+", default=[64, 128, 256, 3072], help="inner dimensions")
            continue
        noise = "noise of the latents, in the [0, 1] range; one record each"
        command.add_argument("--sigma", type=float, nargs="+", default=[0.0139], help=noise)
        command.add_argument("--data", help="root of the data; $DPMOT_DATA otherwise; synthetic images without either")
        command.add_argument("--dataset", default="cifar10", help="folder under the root")
        command.add_argument("--device", help="cpu, cuda ...; a GPU if there is one")
        if name == "maps":
            command.add_argument("--rows", type=int, default=16384, help="samples mapped at once")
            continue
        command.add_argument("--tv", type=float, nargs="+", default=list(race.LEVELS), help="levels to certify")
        if name == "solve":
            command.add_argument("--side", type=int, default=32, help="images are enlarged to side × side pixels")
            command.add_argument("--shard", action="store_true", help="each rank keeps a share of the targets' rows")
        else:
            command.add_argument("--budget", type=float, default=60, help="seconds for each peer and setting")
            limit = "seconds for everything; the budget is cut to what fits, alike for all peers"
            command.add_argument("--limit", type=float, help=limit)
            threads = "host threads of every solver; on the CPU as many cores"
            command.add_argument("--threads", type=int, default=torch.get_num_threads(), help=threads)
            peers = f"only these, each as PEER or 'PEER: SETTING', in a record of their own; of {list(race.PEERS)}"
            command.add_argument("--peers", nargs="+", metavar="PEER", help=peers)
            command.add_argument("--label", help="suffix of the record's file name (the names in --peers)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
