"""Run samplers on problems, measure them, and store every run.

    python -m benchmark.run --sampler dpmot
    python -m benchmark.run --sampler dpmot random-latent --problem digits --nfe 5 10 20 --seeds 0 1 2
    python -m benchmark.run --sampler dpmot --set sigma_m=0.5 reverse=dpm-solver++-2m --set problem.width=0.1
    python -m benchmark.run --suite quick
    python -m benchmark.run --list

A run is (problem, sampler and options, NFE, seed); its record goes to OUT/runs/. Runs that are finished are skipped, so
an interrupted command is continued by giving it again; `python -m benchmark.report` makes tables and figures of them.
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace

from benchmark.commands import command_line, positive, read_settings, run_command
from benchmark.metrics import METRICS, lookup
from benchmark.metrics.extractors import EXTRACTORS
from benchmark.problems import PROBLEMS, problem_class, problem_names, problem_options
from benchmark.records.record import Record
from benchmark.records.rows import describe
from benchmark.records.store import Store, writable
from benchmark.running import suites
from benchmark.running.execute import Settings, execute_all, unfinished
from benchmark.running.plan import Case, Plan, Run, make_plan
from benchmark.workers import choose_device
from dpmot.progress import progress_bar
from samplers.errors import UserError
from samplers.registry import available, unavailable

HEADLINE = ("fid", "fd", "w2", "mmr@0.2", "copy_share")
"""Values shown in the line of a finished run, and those of metrics asked for."""

NFES, SEEDS, SAMPLES = (5, 10, 20), (0, 1, 2), 1000
"""What is run where nothing else is asked for; a suite has its own."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = command_line("benchmark.run", __doc__)
    what = arguments.add_argument_group("what to run")
    what.add_argument("--sampler", nargs="+", metavar="NAME", help="one or more samplers; see --list")
    what.add_argument("--suite", metavar="NAME", help=f"a named grid of runs: {', '.join(suites.SUITES)}")
    what.add_argument("--problem", nargs="+", metavar="NAME", help=f"default mixture2d; {', '.join(problem_names())}")
    what.add_argument(
        "--nfe",
        nargs="+",
        type=int,
        help=f"network evaluations a sample (default {_shown(NFES)}); samplers that call no network have one budget, 0",
    )
    what.add_argument("--seeds", nargs="+", type=int, help=f"seeds, one run each (default {_shown(SEEDS)})")
    what.add_argument(
        "--repetitions",
        nargs="+",
        type=int,
        help="in place of seeds: each draws targets, transport, noise and reference anew; numbers from 1 on",
    )
    what.add_argument("--samples", type=int, help=f"samples a run (default {SAMPLES})")
    what.add_argument(
        "--set",
        nargs="+",
        action="extend",
        metavar="KEY=VALUE",
        help="an option of the sampler, or of the problem as problem.KEY=VALUE",
    )
    what.add_argument(
        "--metrics",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"measured beside the problem's own: {', '.join(METRICS.available())}",
    )
    _add_how(arguments)
    return arguments


def _add_how(arguments: argparse.ArgumentParser) -> None:
    """Options of how runs are carried out, which do not change what they give."""
    add = arguments.add_argument
    add("--out", default="local-results", metavar="DIR", help="results folder (default local-results)")
    add("--data", metavar="DIR", help="folder of the data sets (default $DPMOT_DATA, else ~/.cache/dpmot)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (auto: cuda where there is one)")
    add("--batch", type=positive, metavar="N", help="samples that the network sees at once (default a whole shard)")
    add(
        "--jobs",
        type=positive,
        default=1,
        metavar="N",
        help="runs at a time, each in a process with one thread; they take the GPUs in turn (default 1)",
    )
    add("--force", action="store_true", help="repeat runs that are finished")
    add("--dry-run", action="store_true", help="show what would be run, and run nothing")
    add("--list", action="store_true", help="show samplers with their options, and problems; run nothing")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 all runs succeeded, 1 some failed, 2 bad input, 130 interrupted."""
    return run_command(
        carry_out,
        parser().parse_args(argv),
        interrupted="what is finished is kept; the same command goes on from here",
    )


def carry_out(arguments: argparse.Namespace) -> int:
    """List, show the plan, or carry out the runs that are not finished."""
    if arguments.data:
        os.environ["DPMOT_DATA"] = arguments.data
    if arguments.list:
        show_list()
        return 0
    asked = cases(arguments)
    plan = make_plan(asked, choose_device(arguments.device), strict=arguments.suite is None)
    for line in plan.left_out:
        print(f"left out: {line}")
    store = Store(arguments.out)
    todo = plan.runs if arguments.force else unfinished(plan.runs, store)
    if arguments.dry_run:
        return show_plan(plan, todo)
    writable(store.root)  # complains before anything is run
    if len(todo) < len(plan.runs):
        finished = len(plan.runs) - len(todo)
        print(f"{finished} of {len(plan.runs)} runs are finished and skipped (--force repeats them)")
    settings = Settings(
        root=store.root,
        device=arguments.device,
        batch=arguments.batch,
        anew=arguments.force,
        progress=arguments.jobs == 1,
    )
    return follow(execute_all(todo, asked, settings, arguments.jobs), len(todo), store)


def cases(arguments: argparse.Namespace) -> list[Case]:
    """What the command line asks for."""
    if arguments.suite:
        return cases_of_suite(arguments)
    if not arguments.sampler:
        raise UserError("say what to run: --sampler NAME or --suite NAME; --list shows what there is")
    options, of_problem = read_settings(arguments.set or ())
    if arguments.seeds and arguments.repetitions:
        raise UserError("a repetition has its own seed: give --seeds or --repetitions")
    nfes, seeds = tuple(arguments.nfe or NFES), tuple(arguments.repetitions or arguments.seeds or SEEDS)
    samples = SAMPLES if arguments.samples is None else arguments.samples
    return [
        Case(
            problem,
            sampler,
            nfes,
            seeds,
            samples,
            options=options,
            problem_options=of_problem,
            metrics=tuple(arguments.metrics),
            anew=arguments.repetitions is not None,
        )
        for problem in arguments.problem or ["mixture2d"]
        for sampler in arguments.sampler
    ]


def cases_of_suite(arguments: argparse.Namespace) -> list[Case]:
    """The cases of `--suite`, of which `--problem` chooses; nothing else can be asked of it."""
    chosen = suites.suite(arguments.suite)
    for name in ("sampler", "set", "nfe", "seeds", "repetitions", "samples"):
        if getattr(arguments, name) is not None:
            raise UserError(f"--suite has its own samplers, options, budgets, seeds and counts: leave out --{name}")
    for name in arguments.problem or ():
        problem_class(name)
        if name not in suites.SUITES[arguments.suite]:
            held = ", ".join(suites.SUITES[arguments.suite])
            raise UserError(f"suite '{arguments.suite}' has no runs on '{name}'; it is of {held}")
    wanted = [case for case in chosen if not arguments.problem or case.problem in arguments.problem]
    return [replace(case, metrics=(*case.metrics, *arguments.metrics)) for case in wanted]


def _shown(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


def follow(done: Iterable[tuple[Run, Record]], count: int, store: Store) -> int:
    """Say how the runs get on as they get done; 1 where one failed."""
    failed = []
    with progress_bar(done, total=count, unit="run", dynamic_ncols=True, disable=not count) as bar:
        for run, record in bar:
            if not record.ok:
                failed.append(f"{run}: {record.error}")
            bar.write(line(run, record))
    store.tidy()
    print(f"{count - len(failed)} runs done, {len(failed)} failed; records in {store.root / 'runs'}")
    for text in failed:
        print(f"failed: {text}", file=sys.stderr)
    return 1 if failed else 0


def line(run: Run, record: Record) -> str:
    """One finished run in a line."""
    if not record.ok:
        return f"{run}: FAILED {record.error}"
    asked = [quantity.key for metric in run.more_metrics for quantity in lookup(metric).quantities]
    names = dict.fromkeys((*HEADLINE, *asked))
    shown = [(name, record.metrics[name]["value"]) for name in names if name in record.metrics]
    text = f"{run}  " + "  ".join(f"{name} {value:.4g}" for name, value in shown)
    transport = record.fit["info"] if record.fit else {}
    if transport.get("converged") is False:
        text += f"  (OT not converged: TV <= {transport['certificate']['tv_bound']:.2g})"
    return text


def show_plan(plan: Plan, todo: list[Run]) -> int:
    """What would be run."""
    left = {run.key for run in todo}
    for run in plan.runs:
        print(f"{'run ' if run.key in left else 'done'}  {run}  ({run.samples} samples)")
    print(f"{len(plan.runs)} runs, {len(plan.runs) - len(todo)} of them finished")
    return 0


def show_list() -> None:
    """Samplers and problems with their options."""
    print('samplers (options as --set key=value; preset=authors sets what follows "its authors")\n')
    for name, entry in sorted(available().items()):
        print(f"  {name} ({entry.title}, {entry.family}): {entry.cls.summary}")
        print(f"    {entry.cls.paper}; from {entry.package or entry.origin}")
        if entry.cls.preset:
            print(f"    its authors: {describe(entry.cls.preset)}")
        print(textwrap.fill(describe(entry.options()), 78, initial_indent="    ", subsequent_indent="    "))
    for name, reason in unavailable().items():
        print(f"  {name}: can't be used here: {reason}")
    print("\nproblems (options as --set problem.key=value)\n")
    for name in problem_names():
        print(f"  {name}: {problem_class(name).summary}")
        if options := problem_options(name):
            print(textwrap.fill(describe(options), 78, initial_indent="    ", subsequent_indent="    "))
    for name, reason in PROBLEMS.unavailable().items():
        print(f"  {name}: can't be used here: {reason}")
    print("\nmetrics (--metrics name; a problem has its own)\n")
    for name, metric in METRICS.available().items():
        print(textwrap.fill(f"{name}: {', '.join(q.key for q in metric.item.quantities)}", 78, initial_indent="  "))
    for name, reason in METRICS.unavailable().items():
        print(f"  {name}: can't be used here: {reason}")
    print("\nfeature networks (--set problem.extractor=name)\n")
    for name, network in EXTRACTORS.available().items():
        print(f"  {name}: {network.item.summary}")
    for name, reason in EXTRACTORS.unavailable().items():
        print(f"  {name}: can't be used here: {reason}")
    print(f"\nsuites: {', '.join(suites.SUITES)}")


if __name__ == "__main__":
    sys.exit(main())
