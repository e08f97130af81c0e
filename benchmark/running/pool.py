"""Several runs at a time, each in a process of its own with one thread; on CUDA they take the GPUs in turn."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from itertools import groupby
from pathlib import Path

import torch

from benchmark.records.store import Record, Store, canonical, key_of
from benchmark.running.execute import Executor
from benchmark.running.plan import Case, Run, make_plan
from benchmark.running.processes import processes
from benchmark.workers import choose_device

_runs: dict[str, Run] = {}
_executor: Executor


def execute_all(
    todo: Sequence[Run], cases: Sequence[Case], device: str, executor: Executor, jobs: int, anew: bool
) -> Iterator[tuple[Run, Record]]:
    """Carry out runs of the plan of `cases` in `jobs` processes; yields each with its record as it gets done.

    Runs that share a fit stay together. Every process plans anew, so that nothing but keys and records is sent.
    """
    if jobs == 1:
        yield from ((run, executor.execute(run, anew)) for run in todo)
        return
    runs = {key_of(run.config()): run for run in todo}
    groups = [list(keys) for _, keys in groupby(runs, lambda key: _fit_key(runs[key]))]
    with processes(jobs, _start, list(cases), device, executor.store.root, executor.batch) as pool:
        for done in as_completed([pool.submit(_carry_out, keys, anew) for keys in groups]):
            yield from ((runs[record["key"]], record) for record in done.result())


def _fit_key(run: Run) -> str:
    config = run.config()
    return canonical({name: config[name] for name in ("problem", "sampler", "nfe")})


def _start(cases: list[Case], device: str, root: Path, batch: int | None) -> None:
    """Make a process ready: they take the GPUs in turn, by the number that ends a process's name."""
    global _executor
    number = int(multiprocessing.current_process().name.rpartition("-")[2])
    own = choose_device(device, number % max(torch.cuda.device_count(), 1))
    _runs.update((key_of(run.config()), run) for run in make_plan(cases, own).runs)
    _executor = Executor(Store(root), batch)


def _carry_out(keys: list[str], anew: bool) -> list[Record]:
    return [_executor.execute(_runs[key], anew) for key in keys]
