"""The registry of samplers: the files of this folder, and entry points of other packages.

A file adds a class under `@register("name")`. Another package adds one by an entry point of the group
`dpmot_bench.samplers`: its object is a `Sampler` class, which gets the entry point's name, or a module that calls
`register`.
"""

import inspect
import typing
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

from samplers import plugins
from samplers.base import Family, Sampler
from samplers.errors import UserError
from samplers.options import either, parse
from samplers.plugins import Registry, did_you_mean

S = TypeVar("S", bound=type[Sampler])


@dataclass(frozen=True)
class Entry(plugins.Entry[type[Sampler]]):
    """A registered sampler."""

    @property
    def cls(self) -> type[Sampler]:
        """Its class."""
        return self.item

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
        """Make the sampler with these options over the defaults; strings are read as the option's type.

        `preset="authors"` is no option of its own: it puts the class's `preset` in the place of the defaults.

        Raises:
            UserError: unknown option, or a value it cannot have.
        """
        known = self.options()
        if (preset := options.pop("preset", "")) == "authors":
            options = {**self.cls.preset, **options}
        elif preset:
            raise UserError(f"sampler '{self.name}': preset takes authors, not '{preset}'")
        for key in options:
            if key not in known:
                raise UserError(f"sampler '{self.name}' has no option '{key}'{did_you_mean(key, known)}")
        hints = typing.get_type_hints(self.cls)
        try:
            read = {key: parse(v, hints[key], key) if isinstance(v, str) else v for key, v in options.items()}
            return self.cls(**read)
        except ValueError as error:
            raise UserError(f"sampler '{self.name}': {error}") from None


def register(name: str) -> Callable[[S], S]:
    """Make a `Sampler` known as `name`: a decorator of its class.

    Raises:
        ValueError: the name is taken or cannot be that of a file, the class cannot be made without options, or its
            family is unknown.
    """

    def add(cls: S) -> S:
        where = f"{cls.__module__}.{cls.__qualname__}"
        if inspect.isabstract(cls):
            raise ValueError(f"{where} lacks {', '.join(sorted(cls.__abstractmethods__))}")
        if needed := [f.name for f in fields(cls) if f.default is MISSING]:
            raise ValueError(f"{where} has options without a default: {', '.join(needed)}")
        if cls.family not in typing.get_args(Family):
            raise ValueError(f"{where} is of family '{cls.family}', not {either(typing.get_args(Family))}")
        SAMPLERS.add(name, cls, defined_by=cls)
        return cls

    return add


def _plug_in(name: str, loaded: Any) -> None:
    if not (isinstance(loaded, type) and issubclass(loaded, Sampler)):
        raise TypeError(f"{loaded!r} is neither a Sampler class nor a module")
    register(name)(loaded)


SAMPLERS: Registry[type[Sampler]] = Registry("sampler", "samplers", "dpmot_bench.samplers", _plug_in)


def available() -> dict[str, Entry]:
    """Every sampler that can be used, by name."""
    return {name: Entry(**vars(entry)) for name, entry in SAMPLERS.available().items()}


def unavailable() -> dict[str, str]:
    """Every sampler that cannot be used here, with the reason."""
    return SAMPLERS.unavailable()


def lookup(name: str) -> Entry:
    """Find the sampler of that name.

    Raises:
        UserError: there is none, or it cannot be used here.
    """
    return Entry(**vars(SAMPLERS.lookup(name)))
