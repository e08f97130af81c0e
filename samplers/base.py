"""What a sampler is: options, an optional fit, and samples within a budget of network evaluations."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, get_args

import torch
from torch import Tensor, nn

from samplers.denoisers import Denoiser, prepared
from samplers.errors import UserError
from samplers.noise import Grid, ShardNoise, make_grid
from samplers.options import added, check_choices


class Problem(Protocol):
    """What a sampler may know of a problem (the rest lives in `benchmark.problems`).

    Attributes:
        name: for messages.
        shape: of one sample, without the batch axis.
        sigma_min, sigma_max: the noise levels between which the denoiser is meant to be used.
        trainable: whether the denoiser is a network, of which there can be a `student`.
        dtype: of the sampler's state.
        device: where the denoiser runs.
    """

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def sigma_min(self) -> float: ...

    @property
    def sigma_max(self) -> float: ...

    @property
    def trainable(self) -> bool: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    def denoiser(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x] at noise level sigma; see `Denoiser`."""
        ...

    def examples(self, split: Literal["train", "test"], count: int) -> Tensor:
        """The first `count` examples of a split, [count, *shape]; fewer where the split is smaller."""
        ...

    def remember(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        """`make()`, or what it gave before for this problem under this key, where the problem keeps such things."""
        ...

    def student(self) -> nn.Module:
        """A copy of a trainable denoiser: a module on its device, called like it."""
        ...

    def trained(self, source: str) -> tuple[nn.Module, dict[str, Any]]:
        """Read a student that was trained before, on its device, and what its file says of the training.

        Raises:
            UserError: `source` names none that can be used.
        """
        ...

    def trained_hash(self, source: str) -> str:
        """Hash the file of a student that was trained before; raises as `trained` does."""
        ...


@dataclass(frozen=True, kw_only=True)
class FittedSampler(ABC):
    """Base of what `Sampler.fit` gives: ready to sample from one problem with one budget.

    Attributes:
        info: what the fit found out (costs, certificate, convergence), JSON-ready, for the record.
        denoiser: a network of its own, which takes the denoiser's place and is counted as that is; None: it has none.
        seconds: what the fit took where it was remembered from before; None: what it takes now.
    """

    info: dict[str, Any] = field(default_factory=dict)
    denoiser: Denoiser | None = None
    seconds: float | None = None

    @abstractmethod
    def sample(self, denoiser: Denoiser, noise: ShardNoise) -> Tensor:
        """Samples of one shard, [S, ...], with at most the budget of evaluations a sample."""


@dataclass(frozen=True)
class FittedStudent(FittedSampler):
    """A student that was trained, now or before, and what it does with a shard's noise (`draw`, as `sample`)."""

    draw: Callable[[Denoiser, ShardNoise], Tensor]

    def sample(self, denoiser: Denoiser, noise: ShardNoise) -> Tensor:
        return self.draw(denoiser, noise)


Family = Literal["plain", "distilled", "other", "ot", "control", "real"]
"""Kinds of samplers, in the order in which the report shows them.

`plain` takes the whole trajectory, `distilled` trains a student, `ot` replaces a part of the trajectory by an optimal
transport map, `control` is what is left of that without one of its parts, `real` returns held-out examples. `other`, of
which a sampler is that says nothing, is shown and decides no claim.
"""


@dataclass(frozen=True)
class Sampler(ABC):
    """Base of all samplers: a frozen record of options. An option with a few choices is annotated with a `Literal`.

    Class attributes:
        title: its name in tables and figures; not inherited, the registered name where the class has none.
        family: what kind of sampler it is.
        summary: one line for `--list`.
        paper: where it comes from (authors, year, arXiv).
        preset: options as its authors set them for small images (CIFAR-10), where not the default: `preset=authors`.
        least: the fewest evaluations that get beyond its warm-up; a suite asks for no fewer, a user may.
        fast: whether it was made for few evaluations; one that was not is shown as a reference, not as a rival.
        version: raised when a change of code changes the numbers; part of a run's key.
        network: whether it calls the network; one that does not has a single budget, 0.
    """

    title: ClassVar[str] = ""
    family: ClassVar[Family] = "other"
    summary: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    preset: ClassVar[Mapping[str, Any]] = {}
    least: ClassVar[int] = 1
    fast: ClassVar[bool] = True
    version: ClassVar[int] = 1
    network: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choices(self)

    @property
    def revision(self) -> int:
        """The version of what these options do: `version`, raised where a change touched the numbers of some alone."""
        return self.version

    @property
    def from_examples(self) -> bool:
        """Whether samples start from stored examples of the data, which they may then show."""
        return False

    def fingerprint(self, problem: Problem) -> dict[str, Any]:
        """Hashes of files that determine the outcome beyond the options, by name."""
        return {}

    def check(self, nfe: int) -> None:  # noqa: B027 (any budget suffices, unless a subclass says otherwise)
        """Raise UserError where a budget of `nfe` evaluations does not suffice."""

    def suits(self, problem: Problem, nfe: int) -> None:  # noqa: B027 (any does, unless a subclass says otherwise)
        """Raise UserError where this sampler can't work on a problem with a budget of `nfe` evaluations."""

    @abstractmethod
    def fit(self, problem: Problem, nfe: int, progress: bool = False) -> FittedSampler:
        """Make ready for a problem and a budget of `nfe` evaluations: solve OT, train a student, or nothing.

        Raises:
            UserError: `nfe` is too small for this sampler, or an option does not fit the problem.
        """


End = Literal["denoise", "zero", "sigma-min"]
END_LEVELS: tuple[End, ...] = get_args(End)


@dataclass(frozen=True)
class ReverseSampler(Sampler):
    """A solver of the reverse process on a grid of noise levels.

    A subclass says how many evaluations `intervals` cost (`cost`) and how to walk down a grid (`integrate`). The levels
    are float64 scalars on the CPU whatever the state's type and device, so that coefficients are exact.

    Attributes:
        grid: spacing of the noise levels, a name of `samplers.noise.GRIDS`.
        end: what happens at the end level σ_min: `denoise` returns D(x; σ_min), one more evaluation; `zero` makes the
            solver's own step from σ_min to 0, one evaluation too and the same as `denoise` for all but the PNDM family;
            `sigma-min` returns x at σ_min, with its noise.
        sigma_max, sigma_min: noise range; the problem's own where None.
        clamp: keep every estimate of x0 within [−1, 1]; for images.
        afs: take the first step without an evaluation, which leaves one for another step; see `FreeFirstStep`.
    """

    grid: Grid = "edm"
    end: End = "denoise"
    sigma_max: float | None = None
    sigma_min: float | None = None
    clamp: bool = added(False)
    afs: bool = added(False)

    @property
    def convergence(self) -> int | None:
        """Nominal order of the global error in the length of the steps; None for stochastic samplers.

        Of multistep methods that of the full formula: the first steps are of lower order, where ε hardly changes.
        """
        return None

    @abstractmethod
    def cost(self, intervals: int) -> int:
        """Evaluations that a grid of so many intervals takes (increasing; the end level left out)."""

    @abstractmethod
    def integrate(self, denoiser: Denoiser, x: Tensor, sigmas: Tensor, noise: ShardNoise) -> Tensor:
        """Take x [S, ...] from sigmas[0] down to sigmas[-1] (decreasing, [intervals + 1]; the last may be 0)."""

    @property
    def lands(self) -> bool:
        """Whether the solver makes the step from σ_min to 0 itself."""
        return self.end == "zero"

    def spend(self, nfe: int) -> int:
        """What `nfe` evaluations leave for the grid: the end level takes one, save with `sigma-min`; `afs` adds one."""
        return nfe - (self.end != "sigma-min") + self.afs

    def intervals(self, nfe: int) -> int:
        """The most grid intervals that `nfe` evaluations pay for, beside the end level."""
        intervals = 0
        while self.cost(intervals + 1) <= self.spend(nfe):
            intervals += 1
        return intervals

    def check(self, nfe: int) -> None:
        """Raise UserError where `nfe` evaluations do not pay for one interval."""
        enough = max(1, self.cost(1) + (self.end != "sigma-min") - self.afs)
        if nfe < enough:
            raise UserError(f"needs at least {enough} evaluations, got {nfe}")

    def suits(self, problem: Problem, nfe: int) -> None:
        if self.clamp and len(problem.shape) != 3:
            raise UserError(f"clamp is for images in [-1, 1], and {problem.name} has none: set clamp=false")

    def fit(self, problem: Problem, nfe: int, progress: bool = False) -> "FittedReverse":
        self.check(nfe)
        self.suits(problem, nfe)
        sigma_max = problem.sigma_max if self.sigma_max is None else self.sigma_max
        sigma_min = problem.sigma_min if self.sigma_min is None else self.sigma_min
        if not 0 < sigma_min < sigma_max < math.inf:
            raise UserError(f"needs 0 < sigma_min < sigma_max, got {sigma_min:g} and {sigma_max:g}")
        return FittedReverse(self, nfe, sigma_max, sigma_min)

    def solve(
        self, denoiser: Denoiser, x: Tensor, sigma_max: float, sigma_min: float, noise: ShardNoise, nfe: int
    ) -> Tensor:
        """Take x [S, ...] from `sigma_max` to the end level at `sigma_min`, with at most `nfe` evaluations."""
        sigmas = make_grid(self.grid, self.intervals(nfe), sigma_max, sigma_min)
        return self.descend(prepared(denoiser, self.clamp, self.afs), x, sigmas, noise, nfe)

    def descend(self, denoiser: Denoiser, x: Tensor, sigmas: Tensor, noise: ShardNoise, nfe: int) -> Tensor:
        """Take x [S, ...] down a grid for `nfe` evaluations, the end level included."""
        if self.lands:
            sigmas = torch.cat([sigmas, sigmas.new_zeros(1)])
        x = self.integrate(denoiser, x, sigmas, noise)
        return denoiser(x, sigmas[-1]) if self.end == "denoise" and not self.lands else x


@dataclass(frozen=True)
class FittedReverse(FittedSampler):
    """A reverse solver with its budget and noise range, started from white noise at σ_max."""

    solver: ReverseSampler
    nfe: int
    sigma_max: float
    sigma_min: float

    def sample(self, denoiser: Denoiser, noise: ShardNoise) -> Tensor:
        """Samples of one shard, [S, ...]."""
        x = self.sigma_max * noise.initial()
        return self.solver.solve(denoiser, x, self.sigma_max, self.sigma_min, noise, self.nfe)
