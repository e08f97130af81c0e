"""The registry of samplers: every module of this package, and every entry point of other packages.

A file in `samplers/` adds a class under `@register("name")`. Another package adds one by an entry point of the group
`dpmot_bench.samplers`: its object is a `Sampler` class, which gets the entry point's name, or a module that calls
`register`. A module that cannot be imported is listed with the reason.
"""

import difflib
import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import samplers
from samplers.base import Family, Sampler
from samplers.errors import UserError
from samplers.options import either, parse

GROUP = "dpmot_bench.samplers"
_NOT_SAMPLERS = {"base", "errors", "noise", "options", "registry"}
S = TypeVar("S", bound=type[Sampler])


@dataclass(frozen=True)
class Entry:
    """A registered sampler: its class, its module, and the package of a plugin."""

    name: str
    cls: type[Sampler]
    origin: str
    package: str | None = None

    @property
    def title(self) -> str:
        """Its name in tables and figures; what a class says of itself does not hold for those made from it."""
        return vars(self.cls).get("title") or self.name

    @property
    def family(self) -> Family:
        """What kind of sampler it is."""
        return self.cls.family

    def options(self) -> dict[str, Any]:
        """Every option with its default, in the order of the class."""
        return {f.name: f.default for f in fields(self.cls)}

    def make(self, **options: Any) -> Sampler:
        """The sampler with these options over the defaults; strings are read as the option's type.

        Raises:
            UserError: unknown option, or a value it cannot have.
        """
        known = self.options()
        for key in options:
            if key not in known:
                raise UserError(f"sampler '{self.name}' has no option '{key}'{did_you_mean(key, known)}")
        hints = typing.get_type_hints(self.cls)
        try:
            read = {key: parse(v, hints[key], key) if isinstance(v, str) else v for key, v in options.items()}
            return self.cls(**read)
        except ValueError as error:
            raise UserError(f"sampler '{self.name}': {error}") from None


_entries: dict[str, Entry] = {}
_missing: dict[str, str] = {}


def register(name: str) -> Callable[[S], S]:
    """Make a `Sampler` known as `name`: a decorator of its class.

    Raises:
        ValueError: the name is taken or cannot be that of a file, the class cannot be made without options, or its
            family is unknown.
    """

    def add(cls: S) -> S:
        if not re.fullmatch(r"[a-z0-9][a-z0-9+._-]*", name):
            raise ValueError(f"a sampler's name has small letters, digits and +._- alone, not '{name}'")
        if name in _entries and _where(_entries[name].cls) != _where(cls):
            raise ValueError(f"two samplers are called '{name}': {_where(_entries[name].cls)} and {_where(cls)}")
        if inspect.isabstract(cls):
            raise ValueError(f"{_where(cls)} lacks {', '.join(sorted(cls.__abstractmethods__))}")
        if needed := [f.name for f in fields(cls) if f.default is MISSING]:
            raise ValueError(f"{_where(cls)} has options without a default: {', '.join(needed)}")
        if cls.family not in typing.get_args(Family):
            raise ValueError(f"{_where(cls)} is of family '{cls.family}', not {either(typing.get_args(Family))}")
        _entries[name] = Entry(name, cls, cls.__module__)
        return cls

    return add


def _where(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


@cache
def _load() -> None:
    """Import every sampler once; a failing import is remembered, not raised."""
    for module in pkgutil.iter_modules(samplers.__path__):
        if module.name not in _NOT_SAMPLERS:
            try:
                importlib.import_module(f"samplers.{module.name}")
            except ImportError as error:
                _missing[module.name] = str(error)
    for point in entry_points(group=GROUP):
        before = set(_entries)
        try:
            _plug_in(point)
        except (Exception, SystemExit) as error:  # a broken plugin of another package must not break the suite
            _missing[point.name] = f"{type(error).__name__}: {error}"
        if point.dist:
            for name in _entries.keys() - before:
                _entries[name] = replace(_entries[name], package=f"{point.dist.name} {point.dist.version}")


def _plug_in(point: EntryPoint) -> None:
    loaded = point.load()
    if isinstance(loaded, type) and issubclass(loaded, Sampler):
        register(point.name)(loaded)
    elif not inspect.ismodule(loaded):
        raise TypeError(f"{point.value} is neither a Sampler class nor a module")


def available() -> dict[str, Entry]:
    """Every sampler that can be used, by name."""
    _load()
    return dict(_entries)


def unavailable() -> dict[str, str]:
    """Every sampler that cannot be used here, with the reason."""
    _load()
    return dict(_missing)


def lookup(name: str) -> Entry:
    """The sampler of that name.

    Raises:
        UserError: there is none, or it can't be used here.
    """
    known = available()
    if name in known:
        return known[name]
    if name in unavailable():
        raise UserError(f"sampler '{name}' can't be used here: {unavailable()[name]}")
    raise UserError(f"unknown sampler '{name}'{did_you_mean(name, known)}; --list shows them all")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint to append to an error: the nearest known words, or all of them where they are few."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(repr(c) for c in close)}?"
    return f"; there is {', '.join(known)}" if 0 < len(known) <= 12 else ""
