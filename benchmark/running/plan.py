"""From what was asked for to a list of runs."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from benchmark.metrics import versions
from benchmark.metrics.registry import METRICS
from benchmark.problems import make_problem
from benchmark.problems.base import Problem
from benchmark.problems.registry import PROBLEMS
from benchmark.records import environment
from benchmark.records.store import canonical, key_of
from benchmark.running.measuring import why_not
from samplers import plugins
from samplers.base import Sampler
from samplers.errors import UserError
from samplers.options import configuration
from samplers.registry import Entry, lookup

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """A block of a suite: one sampler on one problem, at some budgets and seeds.

    Attributes:
        problem, sampler: names.
        nfes: budgets of network evaluations.
        seeds: seeds of the runs.
        samples: samples a run.
        options, problem_options: what differs from the defaults.
        metrics: what is measured beside the problem's own metrics.
        anew: whether each seed, from 1 on, is a repetition that draws everything anew: it is the problem's `draw` too,
            and the `target_seed` of samplers that have one.
    """

    problem: str
    sampler: str
    nfes: tuple[int, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    samples: int = 1000
    options: Options = field(default_factory=dict)
    problem_options: Options = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    anew: bool = False

    def parts(self) -> list["Case"]:
        """The case itself, or one for each of its repetitions, with the options that make it one."""
        if not self.anew:
            return [self]
        targets = "target_seed" in lookup(self.sampler).options()
        return [
            replace(
                self,
                seeds=(seed,),
                options={**self.options, **({"target_seed": seed} if targets else {})},
                problem_options={**self.problem_options, "draw": seed},
                anew=False,
            )
            for seed in self.seeds
        ]


@dataclass(frozen=True)
class Run:
    """One run: what is sampled how, from which seed."""

    problem: Problem
    problem_options: Options
    entry: Entry
    sampler: Sampler
    options: Options
    nfe: int
    seed: int
    samples: int
    more_metrics: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """What is measured: the problem's own metrics, then those asked for beside them."""
        return tuple(dict.fromkeys((*self.problem.metrics, *self.more_metrics)))

    @cached_property
    def key(self) -> str:
        """The hash of the configuration, under which the record is stored."""
        return key_of(self.config)

    @cached_property
    def fit_key(self) -> str:
        """Equal for runs that share a fit: all that differ in the seed and the number of samples alone."""
        return canonical({name: self.config[name] for name in ("problem", "sampler", "nfe")})

    @cached_property
    def config(self) -> dict[str, Any]:
        """Exactly what determines the outcome, JSON-ready; its hash is the run's key."""
        found = {
            "problem": {
                "name": self.problem.name,
                "options": dict(self.problem_options),
                "fingerprint": self.problem.fingerprint(),
            },
            "sampler": {
                "name": self.entry.name,
                "options": self.options,
                "version": self.sampler.revision,
                **self.sampler.fingerprint(self.problem),
            },
            "nfe": self.nfe,
            "seed": self.seed,
            "samples": self.samples,
            "shard": self.problem.shard,
            "metrics": versions(self.metrics),
        }
        others = self._plugins()
        return found | ({"plugins": others} if others else {})

    def _plugins(self) -> dict[str, Any]:
        """The code of other packages that has a part in the run: their versions alone may stay while it changes."""
        parts: list[plugins.Entry[Any]] = [
            self.entry,
            PROBLEMS.lookup(self.problem.name),
            *(METRICS.lookup(name) for name in self.metrics),
        ]
        return {part.name: told for part in parts if (told := environment.foreign(part))}

    def changed(self) -> dict[str, Any]:
        """Options of the sampler that differ from its defaults."""
        defaults = self.entry.options()
        return {key: value for key, value in self.options.items() if value != defaults[key]}

    def __str__(self) -> str:
        changed = "".join(f" {key}={value}" for key, value in self.changed().items())
        drawn = " (drawn anew)" if self.problem.draw else ""
        return f"{self.problem.name} {self.entry.name}{changed} nfe={self.nfe} seed={self.seed}{drawn}"


@dataclass(frozen=True)
class Plan:
    """Runs in an order that lets seeds share a fit, and what was left out, with the reason."""

    runs: list[Run]
    left_out: list[str]


def make_plan(cases: Iterable[Case], device: torch.device | str = "cpu", strict: bool = False) -> Plan:
    """Expand cases into runs; equal runs are made once.

    A problem or budget that a sampler can't work with is left out with a line, or, where `strict`, an error. A sampler
    that calls no network has one budget, 0, whatever a case says. Repetitions come one after the other.

    Raises:
        UserError: unknown problem, sampler or option; a value or count that it cannot have.
    """
    problems: dict[str, Problem] = {}
    runs: dict[str, Run] = {}
    left_out: list[str] = []
    for case in _parts(cases):
        name = f"{case.problem} {sorted(case.problem_options.items())}"
        if name not in problems:
            problems[name] = make_problem(case.problem, **case.problem_options).to(device)
        problem, sampler = problems[name], lookup(case.sampler).make(**case.options)
        if strict:
            _check_samples(problem, case)
        more_metrics = tuple(m for m in case.metrics if _measurable(m, problem, case, strict, left_out))
        for nfe in case.nfes if sampler.network else (0,):
            if reason := _refused(sampler, problem, nfe):
                if strict:
                    raise UserError(f"sampler {case.sampler} {reason}")
                left_out.append(f"{case.problem}: {case.sampler} {reason}")
                continue
            for run in _runs(case, problem, sampler, nfe, more_metrics):
                runs.setdefault(run.key, run)
    return Plan(sorted(runs.values(), key=lambda run: run.problem.draw), left_out)


def _parts(cases: Iterable[Case]) -> Iterator[Case]:
    """Every case, checked; one for each repetition of those that draw anew."""
    for case in cases:
        _check_counts(case)
        yield from case.parts()


def _refused(sampler: Sampler, problem: Problem, nfe: int) -> str | None:
    """Why a sampler cannot work on a problem with a budget, or None where it can."""
    try:
        sampler.check(nfe)
        sampler.suits(problem, nfe)
        return None
    except UserError as error:
        return str(error)


def _runs(case: Case, problem: Problem, sampler: Sampler, nfe: int, more_metrics: tuple[str, ...]) -> Iterator[Run]:
    """The runs of a case with one budget: one for each seed."""
    for seed in case.seeds:
        yield Run(
            problem=problem,
            problem_options=problem.configuration(),
            entry=lookup(case.sampler),
            sampler=sampler,
            options=configuration(sampler),
            nfe=nfe,
            seed=seed,
            samples=case.samples,
            more_metrics=more_metrics,
        )


def _check_samples(problem: Problem, case: Case) -> None:
    """Raise UserError where the problem's own metrics need more samples: else that is known after the sampling."""
    for metric in problem.metrics:
        if case.samples < (least := METRICS.lookup(metric).item.least):
            raise UserError(f"--samples must be at least {least} for '{metric}' on {problem.name}, got {case.samples}")


def _measurable(metric: str, problem: Problem, case: Case, strict: bool, left_out: list[str]) -> bool:
    """Whether a metric applies; where it does not, that is said once, or is an error where `strict`."""
    if (reason := why_not(metric, problem, case.samples)) is None:
        return True
    if strict:
        raise UserError(f"problem '{problem.name}': {reason}")
    if (line := f"{problem.name}: {reason}") not in left_out:
        left_out.append(line)
    return False


def _check_counts(case: Case) -> None:
    if any(nfe < 0 for nfe in case.nfes):
        raise UserError(f"--nfe takes numbers that are not negative, got {min(case.nfes)}")
    if any(seed < 0 for seed in case.seeds):
        raise UserError(f"--seeds takes numbers that are not negative, got {min(case.seeds)}")
    if case.anew and 0 in case.seeds:
        raise UserError("--repetitions takes numbers from 1 on: 0 is the draw that was there first")
    if case.samples < 1:
        raise UserError(f"--samples must be at least 1, got {case.samples}")
