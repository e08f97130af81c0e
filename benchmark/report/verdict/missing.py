"""The runs that a verdict misses, as command lines."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.report.arms import OURS, RANDOM, SHORTENED, Arm
from benchmark.report.command_lines import command_line
from benchmark.report.comparing import Comparison, Side
from benchmark.report.results import Results

SEEDS = (0, 1, 2, 3, 4)


def runs(
    results: Results,
    problem: str,
    arm: Arm,
    nfe: int,
    options: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = SEEDS,
    samples: int | None = None,
) -> str:
    """Runs of an arm's sampler at a budget, with these options over its defaults."""
    return command_line(results.problem(problem), arm.sampler, nfe, seeds, samples, options or {})


def pair(results: Results, problem: str, first: Side, second: Side) -> str:
    """Runs that let two arms be compared: of the one with fewer than two seeds, else of the one run longer ago, with
    the seeds and samples of the other.
    """

    def standing(side: Side) -> tuple[bool, str]:
        found = results.at(problem, *side)
        return found["seed"].nunique() > 1, max(found["created"], default="")

    (arm, nfe), other = sorted((second, first), key=standing)
    with_it = results.at(problem, *other)
    return runs(
        results,
        problem,
        arm,
        nfe,
        options=results.changed(problem, arm),
        seeds=sorted(with_it["seed"].unique()) if standing(other)[0] else SEEDS,
        samples=int(with_it["samples"].iloc[0]) if len(with_it) else None,
    )


def margins(results: Results, comparisons: Sequence[Comparison]) -> list[str]:
    """Runs of the solver that margins are taken from, for the comparisons without one."""
    without = [c for c in comparisons if math.isnan(c.gain)]
    return [pair(results, c.problem, (SHORTENED, c.budget), (c.arm, c.budget)) for c in without]


def control(results: Results, problem: str, nfe: int) -> str:
    """Runs of random latents under the options of DPM-OT."""
    theirs = results.options(problem, RANDOM) if RANDOM in results.arms(problem) else {}
    ours = results.options(problem, OURS)
    unlike = {name: v for name, v in ours.items() if name in theirs and v != theirs[name]}
    return runs(results, problem, RANDOM, nfe, unlike)
