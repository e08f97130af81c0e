"""The command lines that would make what a verdict misses."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.report.comparing import OURS, RANDOM, SHORTENED, Comparison
from benchmark.report.results import Results

SEEDS = (0, 1, 2, 3, 4)


def runs(
    problem: str,
    sampler: str,
    nfe: int,
    options: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = SEEDS,
    samples: int | None = None,
) -> str:
    """Runs of a sampler at a budget; a problem that was run in several ways is `name (option=value, ...)`."""
    name, _, ways = problem.removesuffix(")").partition(" (")
    asked = f"python -m benchmark.run --problem {name} --sampler {sampler} --nfe {nfe}"
    asked += f" --seeds {' '.join(map(str, seeds))}" + (f" --samples {samples}" if samples else "")
    settings = [f"{k}={v}" for k, v in (options or {}).items()]
    settings += [f"problem.{way}" for way in ways.split(", ") if way]
    return asked + (f" --set {' '.join(settings)}" if settings else "")


def pair(results: Results, problem: str, first: tuple[str, int], second: tuple[str, int]) -> str:
    """Runs that let two arms, each given as (label, budget), be compared: of the one with fewer than two seeds, else
    of the one run longer ago, with the seeds and samples of the other.
    """

    def standing(side: tuple[str, int]) -> tuple[bool, str]:
        found = results.at(problem, *side)
        return found["seed"].nunique() > 1, max(found["created"], default="")

    (label, nfe), other = sorted((second, first), key=standing)
    arm = results.runs[(results.runs["problem"] == problem) & (results.runs["label"] == label)]
    options = results.records[arm["key"].iloc[0]]["changed"] if len(arm) else {}
    with_it = results.at(problem, *other)
    seeds = sorted(with_it["seed"].unique()) if standing(other)[0] else SEEDS
    samples = int(with_it["samples"].iloc[0]) if len(with_it) else None
    return runs(problem, label.partition(" ")[0], nfe, options, seeds, samples)


def margins(results: Results, comparisons: Sequence[Comparison]) -> list[str]:
    """Runs of the solver that margins are taken from, for the comparisons without one."""
    without = [c for c in comparisons if math.isnan(c.gain)]
    return [pair(results, c.problem, (SHORTENED, c.budget), (c.arm, c.budget)) for c in without]


def control(results: Results, problem: str, nfe: int) -> str:
    """Runs of random latents under the options of DPM-OT."""
    theirs = results.options(problem, RANDOM) if RANDOM in results.arms(problem) else {}
    ours = results.options(problem, OURS)
    return runs(problem, RANDOM, nfe, {name: v for name, v in ours.items() if name in theirs and v != theirs[name]})
