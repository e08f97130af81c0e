"""Command lines that make runs."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any


def command_line(
    problem: Mapping[str, Any],
    sampler: str,
    nfe: int,
    seeds: Sequence[int],
    samples: int | None,
    options: Mapping[str, Any],
) -> str:
    """The command line of `benchmark.run` that makes these runs.

    Args:
        problem: as in a record's configuration, with `name` and `options`.
        samples: of each run; the default of the command where None.
        options: of the sampler, over its defaults.
    """
    words = ["python", "-m", "benchmark.run", "--problem", problem["name"], "--sampler", sampler, "--nfe", str(nfe)]
    words += ["--seeds", *map(str, seeds)]
    if samples:
        words += ["--samples", str(samples)]
    settings = [f"{name}={value}" for name, value in options.items()]
    settings += [f"problem.{name}={value}" for name, value in problem.get("options", {}).items()]
    if settings:
        words += ["--set", *settings]
    return shlex.join(words)
