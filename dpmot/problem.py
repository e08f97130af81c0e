"""The semi-discrete optimal transport problem: a continuous source, N weighted target points, quadratic cost.

Convention used in the whole package. With the source's mean m and the targets' mean ȳ, the cell of target j is

    W_j(h) = { x : ⟨x − m, y_j − ȳ⟩ + h_j ≥ ⟨x − m, y_i − ȳ⟩ + h_i for all i }.

`heights` always means this h. Centring moves no cell boundary: it only adds ⟨m, y_j⟩ and a constant to the heights of
the raw scores ⟨x, y_j⟩ + h_j (`SemiDiscreteProblem.raw_heights`). Maps take *raw* source samples and return *raw*
targets. For a source of mean zero, centred and raw heights are the same up to a constant.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from typing import Any

import torch
from torch import Tensor

Source = Callable[[int, int, torch.Generator, torch.device, torch.dtype], Tensor]
"""A source measure: `(count, dim, generator, device, dtype) -> [count, dim]` independent samples."""

PROBE_SAMPLES = 4096  # drawn once, with a fixed seed, to learn the mean and scale of a source given as a callable


@dataclass(frozen=True)
class Gaussian:
    """The normal law N(0, std²·I)."""

    std: float = 1.0

    def __post_init__(self) -> None:
        if not (isinstance(self.std, Real) and math.isfinite(self.std) and self.std > 0):
            raise ValueError(f"Gaussian source: std must be a positive number, got {self.std!r}")

    def __call__(
        self, count: int, dim: int, generator: torch.Generator, device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        return torch.randn(count, dim, generator=generator, device=device, dtype=dtype).mul_(self.std)


@dataclass(frozen=True)
class Uniform:
    """The uniform law on the cube [low, high]^d."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        numbers = all(isinstance(end, Real) and math.isfinite(end) for end in (self.low, self.high))
        if not numbers or not self.low < self.high:
            raise ValueError(f"Uniform source: low must be below high, both finite, got [{self.low}, {self.high}]")

    def __call__(
        self, count: int, dim: int, generator: torch.Generator, device: torch.device, dtype: torch.dtype
    ) -> Tensor:
        draw = torch.rand(count, dim, generator=generator, device=device, dtype=dtype)
        return draw.mul_(self.high - self.low).add_(self.low)


@dataclass(frozen=True, eq=False)
class SemiDiscreteProblem:
    """Transport of a continuous source μ onto ν = Σ_j masses_j·δ(y_j) at cost ½‖x − y‖².

    targets: [N, d], finite; arrays are converted, images are to be flattened by the caller. Duplicates are allowed.
    source: `Gaussian`, `Uniform` or any callable of the type `Source`.
    masses: [N], positive, summing to one (to 1e-5, then normalised); equal masses by default.

    Raises ValueError for anything else.
    """

    targets: Tensor
    source: Source = field(default_factory=Gaussian)
    masses: Tensor | None = None

    def __post_init__(self) -> None:
        targets = as_numbers(self.targets, "targets")
        if targets.ndim != 2 or 0 in targets.shape:
            raise ValueError(f"targets must have the shape [N, d] with N, d ≥ 1, got {list(targets.shape)}")
        if targets.dtype not in (torch.float32, torch.float64):
            exact = targets.is_floating_point() or int(targets.abs().max()) <= 2**24
            targets = targets.float() if exact else targets.double()
        if not all(bool(block.isfinite().all()) for block in targets.split(8192)):
            raise ValueError("targets must be finite: found NaN or infinity")
        if not callable(self.source) or isinstance(self.source, type):
            got = f"the class {self.source.__name__}" if isinstance(self.source, type) else type(self.source).__name__
            raise ValueError(f"source must be Gaussian(), Uniform() or a callable, got {got}")
        object.__setattr__(self, "targets", targets.detach())
        object.__setattr__(self, "masses", _checked_masses(self.masses, targets))

    @property
    def num_targets(self) -> int:
        return self.targets.shape[0]

    @property
    def dim(self) -> int:
        return self.targets.shape[1]

    @property
    def weights(self) -> Tensor:
        """Target masses, [N] float64, on the targets' device."""
        assert self.masses is not None  # set by __post_init__
        return self.masses

    @cached_property
    def target_mean(self) -> Tensor:
        """ȳ, the plain mean of the targets, [d]."""
        return self.targets.mean(dim=0, dtype=torch.float64).to(self.targets.dtype)

    @cached_property
    def source_moments(self) -> tuple[Tensor, float]:
        """Mean m [d] and root-mean-square standard deviation per coordinate of the source.

        Exact for `Gaussian` and `Uniform`; for a callable estimated once from a fixed probe drawn on the CPU. Any m is
        valid, since it only fixes the convention of the heights; a good one makes the solve well conditioned.
        """
        zero = self.targets.new_zeros(self.dim)
        if isinstance(self.source, Gaussian):
            return zero, self.source.std
        if isinstance(self.source, Uniform):
            low, high = self.source.low, self.source.high
            return zero + (low + high) / 2, (high - low) / math.sqrt(12)
        probe = self.draw(PROBE_SAMPLES, torch.Generator().manual_seed(0), torch.device("cpu"), torch.float32).double()
        std = float(probe.var(dim=0).mean().sqrt())
        if not std > 0:
            raise ValueError("source: the samples of the callable have no variance; a continuous source is needed")
        return probe.mean(dim=0).to(zero), std

    def draw(self, count: int, generator: torch.Generator, device: torch.device, dtype: torch.dtype) -> Tensor:
        """`count` raw source samples [count, d]; checks what a callable returns."""
        x = self.source(count, self.dim, generator, device, dtype)
        if not isinstance(x, Tensor) or x.shape != (count, self.dim):
            got = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"source must return a tensor of shape [{count}, {self.dim}], got {got}")
        if not isinstance(self.source, Gaussian | Uniform) and not bool(x.isfinite().all()):
            raise ValueError("source returned NaN or infinity")
        return x.to(device=device, dtype=dtype)

    def raw_heights(self, heights: Tensor) -> Tensor:
        """Heights of the uncentred scores ⟨x, y_j⟩ + h_j, for use with other software: h_j − ⟨m, y_j − ȳ⟩."""
        mean, _ = self.source_moments
        return heights - (self.targets @ mean - self.target_mean @ mean).to(heights)


def as_numbers(values: Any, name: str) -> Tensor:
    """A tensor of anything array-like; ValueError unless it holds real numbers."""
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} must be an array of numbers, got {type(values).__name__}") from None
    if tensor.dtype == torch.bool or tensor.is_complex():
        raise ValueError(f"{name} must be real numbers, got {tensor.dtype}")
    if tensor.layout != torch.strided:
        raise ValueError(f"{name} must be a dense array, got {tensor.layout}")
    return tensor.detach()


def fraction(value: Any, name: str) -> float:
    """A number between 0 and 1, both excluded; ValueError for anything else."""
    if not isinstance(value, Real) or not 0 < float(value) < 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {value!r}")
    return float(value)


def whole(value: Any, name: str, least: float = -math.inf) -> int:
    """A whole number of any type, at least `least`; ValueError for anything else."""
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < least or value % 1:
        kind = "a whole number" if least == -math.inf else f"a whole number of at least {least}"
        raise ValueError(f"{name} must be {kind}, got {value!r}")
    return int(value)


def _checked_masses(masses: Tensor | None, targets: Tensor) -> Tensor:
    n = targets.shape[0]
    if masses is None:
        return torch.full((n,), 1 / n, dtype=torch.float64, device=targets.device)
    masses = as_numbers(masses, "masses").to(targets.device, torch.float64)
    if masses.shape != (n,):
        raise ValueError(f"masses must have the shape [{n}], one per target, got {list(masses.shape)}")
    if not bool((masses > 0).all()) or not bool(masses.isfinite().all()):
        raise ValueError("masses must be positive and finite; leave out targets of mass zero")
    total = float(masses.sum())
    if abs(total - 1) > 1e-5:
        raise ValueError(f"masses must sum to one, got {total:.6g}")
    return masses / total
