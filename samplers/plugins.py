"""Registries: things of one kind by name, from the modules of a folder and from entry points of other packages.

A thing is added by dropping a file into the folder that registers it, or by an entry point of the registry's group
that names either the thing or a module that registers it. Nothing is imported before the registry is first asked. What
cannot be imported is listed with the reason.
"""

import difflib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from samplers.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered thing: its name, the module that defines it, and the package of a plugin (name and version)."""

    name: str
    item: T
    origin: str
    package: str | None = None


class Registry(Generic[T]):
    """Things of one kind by name.

    Args:
        kind: what they are called in messages, in the singular.
        folder: the package whose modules register them.
        group: the entry points of other packages.
        plug_in: registers the object that an entry point names; raises TypeError where it is none of the kind.
    """

    def __init__(self, kind: str, folder: str, group: str, plug_in: Callable[[str, Any], None]) -> None:
        self.kind, self.folder, self.group, self._plug_in = kind, folder, group, plug_in
        self._entries: dict[str, Entry[T]] = {}
        self._places: dict[str, str] = {}
        self._missing: dict[str, str] = {}
        self._loaded = False

    def add(self, name: str, item: T, defined_by: Callable[..., Any]) -> None:
        """Make `item` known as `name`; `defined_by` is the class or function that says where it comes from.

        Raises:
            ValueError: the name is taken, or cannot be that of a file.
        """
        if not re.fullmatch(r"[a-z0-9][a-z0-9+._-]*", name):
            raise ValueError(f"a {self.kind}'s name has small letters, digits and +._- alone, not '{name}'")
        place = f"{defined_by.__module__}.{defined_by.__qualname__}"
        if self._places.setdefault(name, place) != place:
            raise ValueError(f"two {self.kind}s are called '{name}': {self._places[name]} and {place}")
        self._entries[name] = Entry(name, item, defined_by.__module__)

    def available(self) -> dict[str, Entry[T]]:
        """Everything that can be used, by name."""
        self._load()
        return dict(self._entries)

    def unavailable(self) -> dict[str, str]:
        """Everything that cannot be used here, with the reason."""
        self._load()
        return dict(self._missing)

    def lookup(self, name: str) -> Entry[T]:
        """Find the thing of that name.

        Raises:
            UserError: there is none, or it cannot be used here.
        """
        known, missing = self.available(), self.unavailable()
        if name in known:
            return known[name]
        if name in missing:
            raise UserError(f"{self.kind} '{name}' cannot be used here: {missing[name]}")
        raise UserError(f"unknown {self.kind} '{name}'{did_you_mean(name, known)}")

    def _load(self) -> None:
        """Import every module and plugin once; what fails is remembered, not raised."""
        if self._loaded:
            return
        self._loaded = True
        for module in pkgutil.iter_modules(importlib.import_module(self.folder).__path__):
            try:
                importlib.import_module(f"{self.folder}.{module.name}")
            except Exception as error:  # a broken file must not keep the others from working
                self._missing[module.name] = f"{type(error).__name__}: {error}"
        for point in entry_points(group=self.group):
            before = set(self._entries)
            try:
                self._plug_in_point(point, before)
            except (Exception, SystemExit) as error:  # nor must a broken package
                self._missing[point.name] = f"{type(error).__name__}: {error}"
            if point.dist:
                for name in self._entries.keys() - before:
                    package = f"{point.dist.name} {point.dist.version}"
                    self._entries[name] = replace(self._entries[name], package=package)

    def _plug_in_point(self, point: EntryPoint, before: set[str]) -> None:
        loaded = point.load()
        if not inspect.ismodule(loaded):
            self._plug_in(point.name, loaded)
        elif self._entries.keys() == before:
            raise TypeError(f"module {point.value} registers no {self.kind}")


def plug_in_of(kind: type[T], register: Callable[[T], object]) -> Callable[[str, object], None]:
    """Make the `plug_in` of a registry of objects of class `kind`, each of which says its name itself."""

    def plug_in(name: str, loaded: object) -> None:
        if not isinstance(loaded, kind):
            raise TypeError(f"is a {type(loaded).__name__}, not a {kind.__name__}")
        register(loaded)

    return plug_in


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Word a hint to append to an error: the nearest known words, or all of them where they are few."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    if close:
        return f"; did you mean {' or '.join(repr(c) for c in close)}?"
    return f"; there is {', '.join(known)}" if 0 < len(known) <= 12 else ""
