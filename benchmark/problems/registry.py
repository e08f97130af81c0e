"""The registry of problems: the files of this folder, and entry points of other packages.

A file adds a class under `@register`, by the name that the class says it has. Another package adds one by an entry
point of the group `dpmot_bench.problems` whose object is such a class, or a module that calls `register`.
"""

import inspect
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

from benchmark.problems.base import Problem
from samplers.errors import UserError
from samplers.options import parse
from samplers.plugins import Registry, did_you_mean

P = TypeVar("P", bound=type[Problem])


def register(cls: P) -> P:
    """Make a problem known by its name: a decorator of its class.

    Raises:
        ValueError: the name is taken or cannot be that of a file, or the class cannot be made without options.
    """
    where = f"{cls.__module__}.{cls.__qualname__}"
    if inspect.isabstract(cls):
        raise ValueError(f"{where} lacks {', '.join(sorted(cls.__abstractmethods__))}")
    if needed := [f.name for f in _options(cls) if f.default is MISSING]:
        raise ValueError(f"{where} has options without a default: {', '.join(needed)}")
    PROBLEMS.add(cls.name, cls, defined_by=cls)
    return cls


def _options(cls: type[Problem]) -> list[Any]:
    return [field for field in fields(cls) if field.init]  # type: ignore[arg-type]


def _plug_in(name: str, loaded: Any) -> None:
    if not (isinstance(loaded, type) and issubclass(loaded, Problem)):
        raise TypeError(f"{loaded!r} is neither a Problem class nor a module")
    register(loaded)


PROBLEMS: Registry[type[Problem]] = Registry("problem", "benchmark.problems", "dpmot_bench.problems", _plug_in)


def problem_names() -> list[str]:
    """List every problem that can be asked for."""
    return list(PROBLEMS.available())


def problem_class(name: str) -> type[Problem]:
    """Find the class of the problem of that name.

    Raises:
        UserError: there is none, or it cannot be used here.
    """
    return PROBLEMS.lookup(name).item


def problem_options(name: str) -> dict[str, Any]:
    """List the options of a problem with their defaults."""
    return {option.name: option.default for option in _options(problem_class(name))}


def make_problem(name: str, **options: Any) -> Problem:
    """Make the problem with these options over its defaults; strings are read as the option's type.

    Raises:
        UserError: unknown problem or option, or a value it cannot have.
    """
    cls, known = problem_class(name), problem_options(name)
    hints = get_type_hints(cls)
    for key in options:
        if key not in known:
            raise UserError(f"problem '{name}' has no option '{key}'{did_you_mean(key, known)}")
    read = {k: parse(v, hints[k], f"{name}.{k}") if isinstance(v, str) else v for k, v in options.items()}
    return cls(**{**known, **read})
