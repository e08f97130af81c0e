"""Arms: a sampler with the options by which it differs from the others; what it is called and where it stands."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.records.store import describe


@dataclass(frozen=True)
class Family:
    """A kind of samplers.

    Attributes:
        heading: how it is called.
        beside_ours: whether its arms stand in the table of controls.
    """

    heading: str
    beside_ours: bool = False


FAMILIES = {
    "plain": Family("plain samplers"),
    "distilled": Family("distilled students"),
    "other": Family("samplers not known here"),
    "ot": Family("optimal transport", beside_ours=True),
    "control": Family("controls", beside_ours=True),
    "real": Family("held-out examples", beside_ours=True),
}
"""The families that samplers declare, in the order in which they are shown."""

_PLAIN = (
    "ddpm", "ddim", "s-pndm", "f-pndm", "plms", "unipc", "deis", "heun", "langevin",
    "dpm-solver-1", "dpm-solver-2s", "dpm-solver-3s", "dpm-solver-fast", "dpm-solver-2m", "dpm-solver-3m",
    "dpm-solver++-2s", "dpm-solver++-2m", "dpm-solver++-3m",
)  # fmt: skip
FAMILY = {
    **dict.fromkeys(_PLAIN, "plain"),
    "progressive-distillation": "distilled",
    "consistency-distillation": "distilled",
    "dpmot": "ot",
    "dpmot-released": "ot",
    "random-latent": "control",
    "unsolved-map": "control",
    "copy-target": "control",
    "held-out": "real",
}

TITLES = {
    "ddpm": "DDPM",
    "ddim": "DDIM",
    "pndm": "PNDM",
    "s-pndm": "S-PNDM",
    "f-pndm": "F-PNDM",
    "plms": "PLMS",
    "unipc": "UniPC",
    "deis": "DEIS",
    "heun": "Heun",
    "langevin": "Langevin",
    "progressive-distillation": "progressive distillation",
    "consistency-distillation": "consistency distillation",
    "dpmot": "DPM-OT",
    "dpmot-released": "DPM-OT released",
    "random-latent": "random latent",
    "unsolved-map": "unsolved map",
    "copy-target": "copy of a target",
    "held-out": "held-out data",
}


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
        return self._with_options(
            TITLES.get(self.sampler)
            or re.sub(r"^dpm-solver", "DPM-Solver", self.sampler).replace("-2m", " 2M").replace("-3m", " 3M")
        )

    @property
    def family(self) -> str:
        """A key of `FAMILIES`; `other` where the sampler is not installed or does not say."""
        return FAMILY.get(self.sampler, "other")

    @property
    def rank(self) -> tuple[int, int, str]:
        """Sort key: families in order, then samplers in the order of `ORDER`, then by label."""
        known = list(TITLES)
        place = known.index(self.sampler) if self.sampler in known else len(known)
        return list(FAMILIES).index(self.family), place, self.label

    def _with_options(self, name: str) -> str:
        return f"{name} ({describe(dict(self.options))})" if self.options else name

    def __str__(self) -> str:
        return self.label


OURS, RANDOM, UNSOLVED = Arm("dpmot"), Arm("random-latent"), Arm("unsolved-map")
COPY, REAL, RELEASED, SHORTENED = Arm("copy-target"), Arm("held-out"), Arm("dpmot-released"), Arm("ddim")
