"""Carrying out runs: each is fitted, drawn, measured and recorded; those that are finished are left out."""

import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from time import perf_counter

import torch

from benchmark.records import environment
from benchmark.records.record import Record
from benchmark.records.store import Store
from benchmark.running.drawing import Fit, draw, fit, pictures
from benchmark.running.executors import carry_out
from benchmark.running.measuring import measure_run
from benchmark.running.plan import Case, Run, make_plan
from benchmark.workers import choose_device


@dataclass(frozen=True)
class Settings:
    """How runs are carried out, which does not change what they give.

    Attributes:
        root: the results folder.
        device: as for `benchmark.workers.choose_device`.
        batch: samples that the network sees at once; None for a whole shard.
        anew: forget the finished shards of runs that were interrupted.
        progress: show how fits get on.
    """

    root: Path
    device: str | None = None
    batch: int | None = None
    anew: bool = False
    progress: bool = False


def unfinished(runs: Iterable[Run], store: Store) -> list[Run]:
    """Those to carry out; says whose finished runs were made by another text of the sampler's module."""
    left, edited = [], Counter[str]()
    for run in runs:
        record = store.finished(run.config)
        if record is None:
            left.append(run)
            continue
        made_by = record.environment.get("sampler", {}).get("sha256")
        if made_by and made_by != environment.code(run.entry)["sha256"]:
            edited[f"{run.entry.origin} (version {run.sampler.version})"] += 1
    for module, count in edited.items():
        print(f"note: {module} was edited after {count} of its runs: raise the version if that changes the numbers")
    return left


def execute_all(
    todo: Sequence[Run], cases: Sequence[Case], settings: Settings, jobs: int
) -> Iterator[tuple[Run, Record]]:
    """Carry out runs of the plan of `cases` in `jobs` processes; yields each with its record as it gets done.

    Runs that share a fit stay together. Every process plans anew and takes the GPUs in turn, so that nothing but keys
    and records is sent.
    """
    runs = {run.key: run for run in todo}
    groups = [[run.key for run in alike] for _, alike in groupby(todo, key=lambda run: run.fit_key)]
    for record in carry_out(by_key(runs, settings), groups, jobs, Anew(list(cases), settings)):
        yield runs[record.key], record


def by_key(runs: Mapping[str, Run], settings: Settings) -> Callable[[str], Record]:
    """An executor of these runs, which is given their keys."""
    executor = Executor(settings)
    return lambda key: executor.execute(runs[key])


@dataclass(frozen=True)
class Anew:
    """Plans anew in a process of its own: what is sent there in place of runs, which hold networks."""

    cases: list[Case]
    settings: Settings

    def __call__(self, number: int) -> Callable[[str], Record]:
        device = choose_device(self.settings.device, number % max(torch.cuda.device_count(), 1))
        return by_key({run.key: run for run in make_plan(self.cases, device).runs}, self.settings)


class Executor:
    """Carries out runs, keeping what seeds share (fits)."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.store = settings, Store(settings.root)
        self._fit: tuple[str, Fit] | None = None

    def execute(self, run: Run) -> Record:
        """Carry out a run and store its record; a failure is recorded, not raised."""
        if self.settings.anew:
            self.store.drop_shards(run.key)
        record = begin_record(run)
        try:
            self._fill(record, run)
        except Exception as error:  # one failing run must not stop the others
            record.status, record.error, record.metrics = "failed", _describe(error), {}
        self.store.save(record)
        if record.ok:
            self.store.drop_shards(run.key)
        return record

    def _fill(self, record: Record, run: Run) -> None:
        """Fit, draw and measure; write down each as it is done."""
        fitted = self._fitted(run)
        record.fit = {"seconds": fitted.seconds, "info": dict(fitted.sampler.info)}
        drawn = draw(run, fitted.sampler, self.store, self.settings.batch)
        record.nfe = drawn.nfe
        record.sampling = {"seconds": drawn.seconds, "samples_per_second": run.samples / drawn.seconds}
        began = perf_counter()
        estimates = measure_run(run.metrics, drawn.samples, run.problem, run.seed)
        record.metrics = {name: dict(vars(estimate)) for name, estimate in estimates.items()}
        record.measuring = {"seconds": perf_counter() - began}
        if run.seed == min(run.problem.draw, 1) and (shown := pictures(run, fitted.sampler, drawn.samples)):
            self.store.save_arrays(run.key, **shown)

    def _fitted(self, run: Run) -> Fit:
        """The sampler made ready; seeds of one sampler and budget share it."""
        if self._fit is None or self._fit[0] != run.fit_key:
            self._fit = run.fit_key, fit(run, self.settings.progress)
        return self._fit[1]


def begin_record(run: Run) -> Record:
    """The record of a run that begins now."""
    return Record(
        key=run.key,
        config=run.config,
        changed=run.changed(),
        environment={
            **environment.describe(str(run.problem.device)),
            "sampler": environment.code(run.entry),
            **run.problem.places(),
        },
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _describe(error: Exception) -> str:
    """Kind, message and place of an error, in a line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{'/'.join(last.filename.split('/')[-2:])}:{last.lineno}"
    return f"{type(error).__name__}: {' '.join(str(error).split())} ({place})"
