"""The mixtures on which the bound is tested: overlapping and separate modes, dimension 2 to 64, one of real digits."""

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from benchmark.bound.terms import MixtureFlow
from benchmark.problems import make_problem
from benchmark.problems.gaussian_mixture import GaussianMixture
from samplers.errors import UserError


@dataclass(frozen=True)
class DigitsMixture(GaussianMixture):
    """One mode per digit, fitted to scikit-learn's 1797 digits of 8 by 8 pixels, scaled to [−1, 1].

    The maximum likelihood fit of an isotropic mixture of known membership: class means, class frequencies, and the
    within-class variance pooled over classes and pixels.
    """

    name: ClassVar[str] = "digits-mixture"
    summary: ClassVar[str] = "one isotropic mode per digit, fitted to scikit-learn's digits"
    metrics: ClassVar[tuple[str, ...]] = ()

    @cached_property
    def _fit(self) -> tuple[Tensor, Tensor, float]:
        from sklearn.datasets import load_digits

        pixels, labels = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
        pixels = pixels.double() / 8 - 1
        means = torch.stack([pixels[labels == digit].mean(0) for digit in range(10)])
        width = float((pixels - means[labels]).square().mean().sqrt())
        return means, labels.bincount().double() / len(labels), width

    @property
    def means(self) -> Tensor:
        return self._fit[0]

    @property
    def mode_weights(self) -> Tensor:
        return self._fit[1]

    @property
    def width(self) -> float:  # type: ignore[override]
        return self._fit[2]


def _overlapping(dim: int) -> tuple[str, dict[str, Any]]:
    """Four modes whose centres have the norm √2·width in any dimension, in root mean square."""
    return "mixture", {"dim": dim, "modes": 4, "width": 0.4, "spread": 0.4 * math.sqrt(2 / dim)}


MIXTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "gaussian-8": ("mixture", {"dim": 8, "modes": 1, "width": 0.4}),
    "overlapping-2": ("mixture2d", {"width": 0.25}),
    **{f"overlapping-{dim}": _overlapping(dim) for dim in (4, 8, 16, 32, 64)},
    "separate-2": ("mixture2d", {}),
    "separate-16": ("mixture", {}),
    "digits-64": ("digits-mixture", {}),
}
"""Name -> problem and options. `separate-*` are the suite's own mixtures with their defaults."""


@cache
def mixture(name: str) -> GaussianMixture:
    """The mixture of that name.

    Raises:
        UserError: there is none.
    """
    if name not in MIXTURES:
        raise UserError(f"unknown mixture '{name}': choose one of {', '.join(MIXTURES)}")
    problem, options = MIXTURES[name]
    found = DigitsMixture() if problem == "digits-mixture" else make_problem(problem, **options)
    assert isinstance(found, GaussianMixture)
    return found


@cache
def exact_flow(name: str) -> MixtureFlow:
    """Its exact probability flow."""
    found = mixture(name)
    return MixtureFlow(found.means, found.mode_weights, found.width)
