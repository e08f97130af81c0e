"""Arms: a sampler with the options by which it differs from the others; what it is called and where it stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.records.rows import describe
from samplers.base import Family
from samplers.registry import Entry, available


@dataclass(frozen=True)
class Kind:
    """A kind of samplers.

    Attributes:
        heading: how it is called.
        beside_ours: whether its arms stand in the table of controls.
    """

    heading: str
    beside_ours: bool = False


FAMILIES: dict[Family, Kind] = {
    "plain": Kind("plain samplers"),
    "distilled": Kind("distilled students"),
    "other": Kind("samplers not known here"),
    "ot": Kind("optimal transport", beside_ours=True),
    "control": Kind("controls", beside_ours=True),
    "real": Kind("held-out examples", beside_ours=True),
}
"""The families that samplers declare, in the order in which they are shown."""

ORDER = (
    "ddpm", "ddim", "s-pndm", "f-pndm", "plms", "unipc", "deis", "heun", "langevin",
    "progressive-distillation", "consistency-distillation",
    "dpmot", "dpmot-released", "random-latent", "unsolved-map", "copy-target", "held-out",
)  # fmt: skip
"""Samplers in the order in which they are shown within their families; others follow, by name."""


@dataclass(frozen=True)
class Arm:
    """A sampler with the options by which it differs from its main arm on a problem.

    Attributes:
        sampler: its name in the registry.
        options: (name, value) of each option that differs, in the sampler's order; none for the main arm.
    """

    sampler: str
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, sampler: str, changed: Mapping[str, Any]) -> "Arm":
        """The arm of these options; lists among them become tuples, so that it can be a key."""
        frozen = {name: tuple(value) if isinstance(value, list) else value for name, value in changed.items()}
        return cls(sampler, tuple(frozen.items()))

    @property
    def main(self) -> "Arm":
        """The main arm of the same sampler."""
        return Arm(self.sampler)

    @property
    def label(self) -> str:
        """The sampler's name with the options in brackets, for files; also what `str` gives."""
        return self._with_options(self.sampler)

    @property
    def title(self) -> str:
        """The printed name with the options in brackets."""
        return self._with_options(self._entry.title if self._entry else self.sampler)

    @property
    def family(self) -> Family:
        """A key of `FAMILIES`; `other` where the sampler is not installed or does not say."""
        return self._entry.family if self._entry else "other"

    @property
    def fast(self) -> bool:
        """Whether its sampler was made for few evaluations."""
        return self._entry is None or self._entry.cls.fast

    @property
    def _entry(self) -> Entry | None:
        """The sampler in the registry; None where it is not installed here."""
        return available().get(self.sampler)

    @property
    def rank(self) -> tuple[int, int, str]:
        """Sort key: families in order, then samplers in the order of `ORDER`, then by label."""
        place = ORDER.index(self.sampler) if self.sampler in ORDER else len(ORDER)
        return list(FAMILIES).index(self.family), place, self.label

    def _with_options(self, name: str) -> str:
        return f"{name} ({describe(dict(self.options))})" if self.options else name

    def __str__(self) -> str:
        return self.label


OURS, RANDOM, UNSOLVED = Arm("dpmot"), Arm("random-latent"), Arm("unsolved-map")
COPY, REAL, RELEASED, SHORTENED = Arm("copy-target"), Arm("held-out"), Arm("dpmot-released"), Arm("ddim")
