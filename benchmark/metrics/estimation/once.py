"""Work on a reference that is done once, however many samples are compared with it."""

import weakref
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

_kept: dict[int, dict[Hashable, Any]] = {}


def once(owner: object, key: Hashable, make: Callable[[], T]) -> T:
    """Give `make()`, remembered for this owner for as long as it lives (owners need not be hashable)."""
    if id(owner) not in _kept:
        _kept[id(owner)] = {}
        weakref.finalize(owner, _kept.pop, id(owner), None)
    kept = _kept[id(owner)]
    if key not in kept:
        kept[key] = make()
    return kept[key]
