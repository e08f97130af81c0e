"""Problems: data, denoiser and reference; looked up by name."""

import importlib
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from benchmark.problems.base import Problem
from samplers.errors import OptionError
from samplers.options import parse
from samplers.plugins import did_you_mean

_PROBLEMS = {
    "mixture2d": "benchmark.problems.mixture:Mixture2D",
    "mixture": "benchmark.problems.mixture:Mixture",
    "digits": "benchmark.problems.digits:Digits",
    "cifar10": "benchmark.problems.images:Cifar10",
    "celeba64": "benchmark.problems.images:Celeba64",
    "lsun_bedroom64": "benchmark.problems.images:LsunBedroom64",
    "celebahq256": "benchmark.problems.images:CelebaHq256",
    "lsun_church256": "benchmark.problems.images:LsunChurch256",
    "lsun_bedroom256": "benchmark.problems.images:LsunBedroom256",
}


def problem_names() -> list[str]:
    """Every problem that can be asked for."""
    return list(_PROBLEMS)


def problem_class(name: str) -> type[Problem]:
    """The class of the problem of that name.

    Raises:
        OptionError: there is none.
    """
    if name not in _PROBLEMS:
        raise OptionError(f"unknown problem '{name}'{did_you_mean(name, _PROBLEMS)}")
    module, _, attribute = _PROBLEMS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def problem_options(name: str) -> dict[str, Any]:
    """The options of a problem with their defaults."""
    found = fields(problem_class(name))  # type: ignore[arg-type]
    return {f.name: f.default for f in found if f.init and f.default is not MISSING}


def make_problem(name: str, **options: Any) -> Problem:
    """The problem with these options over its defaults; strings are read as the option's type.

    Raises:
        OptionError: unknown problem or option, or a value it cannot have.
    """
    cls, known = problem_class(name), problem_options(name)
    hints = get_type_hints(cls)
    for key in options:
        if key not in known:
            raise OptionError(f"problem '{name}' has no option '{key}'{did_you_mean(key, known)}")
    read = {k: parse(v, hints[k], f"{name}.{k}") if isinstance(v, str) else v for k, v in options.items()}
    return cls(**{**known, **read})
