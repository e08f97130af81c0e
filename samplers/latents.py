"""What DPM-OT shares with its controls: latents, which are noised examples, and the reverse steps from their level."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from samplers.base import Denoiser, End, FittedSampler, Problem, ReverseSampler, Sampler
from samplers.denoisers import CountingDenoiser
from samplers.errors import UserError
from samplers.noise import Grid, ShardNoise, stream, vp_sigma
from samplers.options import check_at_least, check_positive
from samplers.registry import lookup

Targets = Literal["train", "test", "model"]
LONG_RUN_BATCH = 2000


@dataclass(frozen=True)
class Latents:
    """The N targets of the transport: noised examples y_i = x_i + σ_M ε_i.

    Attributes:
        clean: the examples x_i, [N, *shape].
        noised: the latents y_i, [N, *shape].
        sigma_m: their noise level σ_M.
    """

    clean: Tensor
    noised: Tensor
    sigma_m: float

    def __len__(self) -> int:
        return len(self.clean)


def make_latents(problem: Problem, targets: Targets, count: int, sigma_m: float, seed: int) -> Latents:
    """Noise examples of a split of the problem, or of the model itself; ε depends on `seed` and the shape alone.

    `targets="model"` draws x_i by `long_run`, which the problem may remember.
    """
    if targets == "model":
        key = f"long run, {count} samples, seed {seed}, version {lookup('heun').cls.version}"
        clean = problem.remember(key, lambda: long_run(problem, count, seed))
    else:
        clean = problem.examples(targets, count).to(problem.device, problem.dtype)
    white = torch.randn(clean.shape, generator=stream("latents", seed), dtype=problem.dtype).to(problem.device)
    return Latents(clean, clean + sigma_m * white, sigma_m)


def long_run(problem: Problem, count: int, seed: int) -> Tensor:
    """Draw samples of the model itself by Heun's method, 35 evaluations on the EDM grid; [count, *shape]."""
    noise = ShardNoise(seed, "targets", (count, *problem.shape), problem.dtype, problem.device)
    fitted = lookup("heun").make().fit(problem, 35)
    return fitted.sample(CountingDenoiser(problem.denoiser, 35, LONG_RUN_BATCH), noise)


Start = Callable[[Tensor, ShardNoise], Tensor]
"""start(z, noise) -> latents: where the samples of a shard enter the trajectory; z [S, *shape] white noise."""


@dataclass(frozen=True)
class LatentSampler(Sampler):
    """Base of DPM-OT and its controls: enter at one of N latents of level σ_M, then take the reverse steps.

    A subclass says in its `fit` how a latent is chosen. Everything else (latents, noise, reverse steps) is shared.

    Attributes:
        reverse: the reverse solver from σ_M on: any registered one.
        grid, end, sigma_min: of the reverse steps, see `ReverseSampler`.
        sigma_m: the level σ_M of the latents. Where None, the level at which `nfe` steps are left of a DDPM chain of
            `chain` steps, which is what replacing all but the last steps of the trajectory means.
        chain: length of that chain.
        targets: what the latents are made of: `train`, `test`, or `model` (its own long-run samples).
        count: how many latents, N (fewer where the split has fewer).
        target_seed: seed of the latents' noise, and of the OT solve.
    """

    paper = "Li, Li, Wang, Lei, Luo, Gu 2023, arXiv 2307.11308"

    reverse: str = "ddim"
    grid: Grid = "edm"
    end: End = "denoise"
    sigma_min: float | None = None
    sigma_m: float | None = None
    chain: int = 1000
    targets: Targets = "train"
    count: int = 1000
    target_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "count", "chain")
        check_positive(self, "sigma_m", "sigma_min")

    @property
    def from_examples(self) -> bool:
        return self.targets != "model"

    def solver(self) -> ReverseSampler:
        """Make the reverse solver with its options."""
        solver = lookup(self.reverse).make(grid=self.grid, end=self.end, sigma_min=self.sigma_min)
        if not isinstance(solver, ReverseSampler):
            raise UserError(f"reverse must be a reverse solver such as ddim, not '{self.reverse}'")
        return solver

    def check(self, nfe: int) -> None:
        self.solver().check(nfe)

    def level(self, nfe: int) -> float:
        """Find σ_M for a budget of `nfe` evaluations."""
        if self.sigma_m is not None:
            return self.sigma_m
        return float(vp_sigma(torch.tensor(min(nfe / self.chain, 1.0), dtype=torch.float64)))

    def latents(self, problem: Problem, nfe: int) -> Latents:
        """Make the N latents for a budget of `nfe` evaluations, which must suffice for the reverse steps."""
        self.check(nfe)
        sigma_m, sigma_min = self.level(nfe), self.lowest(problem)
        if sigma_m <= sigma_min:
            raise UserError(f"the level σ_M = {sigma_m:g} must lie above sigma_min = {sigma_min:g}")
        return make_latents(problem, self.targets, self.count, sigma_m, self.target_seed)

    def lowest(self, problem: Problem) -> float:
        """Find the level at which the reverse steps end."""
        return problem.sigma_min if self.sigma_min is None else self.sigma_min

    def enter(
        self, problem: Problem, nfe: int, latents: Latents, start: Start, seconds: float, **info: Any
    ) -> "FittedLatent":
        """Enter the trajectory at `latents` as `start` chooses among them, which took `seconds` to make."""
        return FittedLatent(
            solver=self.solver(),
            nfe=nfe,
            sigma_m=latents.sigma_m,
            sigma_min=self.lowest(problem),
            start=start,
            info={"sigma_m": latents.sigma_m, "targets": len(latents), "start_seconds": seconds, **info},
        )


@dataclass(frozen=True)
class FittedLatent(FittedSampler):
    """Latents with a way to choose among them, and the reverse steps from σ_M."""

    solver: ReverseSampler
    nfe: int
    sigma_m: float
    sigma_min: float
    start: Start

    def sample(self, denoiser: Denoiser, noise: ShardNoise) -> Tensor:
        """Draw the samples of one shard, [S, ...]."""
        y = self.start(noise.initial(), noise)
        return self.solver.solve(denoiser, y, self.sigma_m, self.sigma_min, noise, self.nfe)
