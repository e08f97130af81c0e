"""Options of samplers and problems: fields of a frozen dataclass, read from text and checked against their types."""

import math
import types
import typing
from collections.abc import Iterable
from dataclasses import field, fields
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin

from samplers.errors import UserError

T = TypeVar("T")
_ADDED = "added"
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def parse(text: str, hint: Any, what: str) -> Any:
    """Read a text of the command line as the annotated type of an option.

    Args:
        hint: int, float, bool, str, a `Literal` of choices, or a union of these with each other or None.
        what: the option's name, for the message.

    Raises:
        UserError: it does not read as that type, or is none of the choices.
    """
    kinds = get_args(hint) if get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if type(None) in kinds and text.lower() in ("none", "null", "auto"):
        return None
    for kind in kinds:
        if get_origin(kind) is Literal:
            for choice in get_args(kind):
                if text == str(choice):
                    return choice
        if kind is bool and text.lower() in ("true", "false", "yes", "no", "1", "0"):
            return text.lower() in ("true", "yes", "1")
        if kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
        if kind is str:
            return text
    raise UserError(f"{what} takes {_described(kinds)}, not '{text}'")


def _described(kinds: Iterable[Any]) -> str:
    words: list[str] = []
    for kind in kinds:
        if get_origin(kind) is Literal:
            words += map(str, get_args(kind))
        elif kind is not type(None):
            words.append(_WORDS.get(kind, str(kind)))
    return either(words)


def either(words: Iterable[object]) -> str:
    """Join words as "a, b or c"."""
    *most, last = map(str, words)
    return f"{', '.join(most)} or {last}" if most else last


@cache
def _choices(cls: type) -> dict[str, tuple[Any, ...]]:
    """The choices of each field of a class that is annotated with a `Literal`."""
    hints = typing.get_type_hints(cls)
    return {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}


def check_choices(options: Any) -> None:
    """Raise UserError where a field annotated with a `Literal` holds none of its choices."""
    for name, choices in _choices(options.__class__).items():
        value = getattr(options, name)
        if value not in choices:
            raise UserError(f"{name} takes {either(choices)}, not {value!r}")


def check_at_least(options: Any, least: int, *names: str) -> None:
    """Raise UserError where one of these fields lies below `least`."""
    for name in names:
        if getattr(options, name) < least:
            raise UserError(f"{name} must be at least {least}, got {getattr(options, name)}")


def check_positive(options: Any, *names: str) -> None:
    """Raise UserError where one of these fields is neither positive and finite nor None."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            raise UserError(f"{name} must be positive and finite, got {value:g}")


def added(default: T) -> T:
    """Declare an option that came after the first published runs, whose keys know nothing of it.

    Its default must do, bit for bit, what was done before there was the option; see `configuration`.
    """
    return typing.cast(T, field(default=default, metadata={_ADDED: True}))


def configuration(options: Any) -> dict[str, Any]:
    """Give the options as they stand in a run's configuration, of which the run's key is made.

    Those that were `added` later are left out while they stand at their default, so that runs keep the keys under
    which they were published.
    """
    return {
        option.name: value
        for option in fields(options)
        if (value := getattr(options, option.name)) != option.default or _ADDED not in option.metadata
    }
