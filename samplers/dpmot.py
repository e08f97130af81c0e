"""DPM-OT as its paper describes it: one semi-discrete OT map in place of most of the trajectory."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from dpmot import Gaussian, HardMap, SemiDiscreteProblem, SoftmaxMap, Solution, TopKMap, solve
from samplers.base import CountingDenoiser, Denoiser, End, Family, Problem, ReverseSampler, Sampler
from samplers.errors import UserError
from samplers.noise import Grid, ShardNoise, stream, vp_sigma
from samplers.options import check_at_least, check_positive
from samplers.registry import lookup, register

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


def make_latents(problem: Problem, targets: str, count: int, sigma_m: float, seed: int) -> Latents:
    """Targets from a split of the problem, or from the model itself; ε depends on `seed` and the shape alone.

    `targets="model"` draws x_i by `long_run`, which the problem may remember.
    """
    if targets == "model":
        key = f"long run, {count} samples, seed {seed}, version {lookup('heun').cls.version}"
        clean = problem.remember(key, lambda: long_run(problem, count, seed))
    else:
        clean = problem.examples(targets, count).to(problem.device, problem.dtype)  # type: ignore[arg-type]
    white = torch.randn(clean.shape, generator=stream("latents", seed), dtype=problem.dtype).to(problem.device)
    return Latents(clean, clean + sigma_m * white, sigma_m)


def long_run(problem: Problem, count: int, seed: int) -> Tensor:
    """`count` samples of the model itself, by Heun's method with 35 evaluations on the EDM grid; [count, *shape]."""
    noise = ShardNoise(seed, "targets", (count, *problem.shape), problem.dtype, problem.device)
    fitted = lookup("heun").make().fit(problem, 35)
    return fitted.sample(CountingDenoiser(problem.denoiser, 35, LONG_RUN_BATCH), noise)


Start = Callable[[Tensor, ShardNoise], Tensor]
"""start(z, noise) -> latents: where the samples of a shard enter the trajectory; z [S, *shape] white noise."""


@dataclass(frozen=True)
class LatentSampler(Sampler):
    """Base of DPM-OT and its controls: enter at one of N latents of level σ_M, then take the reverse steps.

    A subclass says how a latent is chosen (`start`). Everything else (latents, noise, reverse steps) is shared.

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
        """The reverse solver with its options."""
        solver = lookup(self.reverse).make(grid=self.grid, end=self.end, sigma_min=self.sigma_min)
        if not isinstance(solver, ReverseSampler):
            raise UserError(f"reverse must be a reverse solver such as ddim, not '{self.reverse}'")
        return solver

    def check(self, nfe: int) -> None:
        self.solver().check(nfe)

    def level(self, nfe: int) -> float:
        """σ_M for a budget of `nfe` evaluations."""
        if self.sigma_m is not None:
            return self.sigma_m
        return float(vp_sigma(torch.tensor(min(nfe / self.chain, 1.0), dtype=torch.float64)))

    def fit(self, problem: Problem, nfe: int, progress: bool = False) -> "FittedLatent":
        self.check(nfe)
        sigma_m = self.level(nfe)
        sigma_min = problem.sigma_min if self.sigma_min is None else self.sigma_min
        if sigma_m <= sigma_min:
            raise UserError(f"the level σ_M = {sigma_m:g} must lie above sigma_min = {sigma_min:g}")
        latents = make_latents(problem, self.targets, self.count, sigma_m, self.target_seed)
        began = perf_counter()
        start, info = self.start(latents, progress)
        info = {"sigma_m": sigma_m, "targets": len(latents), "start_seconds": perf_counter() - began, **info}
        return FittedLatent(self.solver(), nfe, sigma_m, sigma_min, start, info)

    @abstractmethod
    def start(self, latents: Latents, progress: bool) -> tuple[Start, dict[str, Any]]:
        """How a shard's white noise becomes latents, and what is to be recorded of making it so."""


@dataclass(frozen=True)
class FittedLatent:
    """Latents with a way to choose among them, and the reverse steps from σ_M."""

    solver: ReverseSampler
    nfe: int
    sigma_m: float
    sigma_min: float
    start: Start
    info: dict[str, Any] = field(default_factory=dict)

    def sample(self, denoiser: Denoiser, noise: ShardNoise) -> Tensor:
        """Samples of one shard, [S, ...]."""
        y = self.start(noise.initial(), noise)
        return self.solver.solve(denoiser, y, self.sigma_m, self.sigma_min, noise, self.nfe)


def report(solution: Solution) -> dict[str, Any]:
    """What a record keeps of an OT solve."""
    return {
        "converged": solution.converged,
        "certificate": solution.certificate.to_dict(),
        "solve_samples": solution.samples,
        "certificate_samples": solution.certificate_samples,
        "solve_seconds": solution.seconds,
        "history": solution.history,
    }


def transport_problem(latents: Latents) -> SemiDiscreteProblem:
    """Semi-discrete OT from white noise N(0, I) to the latents with equal masses (quadratic cost)."""
    return SemiDiscreteProblem(latents.noised.flatten(1), Gaussian())


@register("dpmot")
@dataclass(frozen=True)
class DPMOT(LatentSampler):
    """White noise z goes to the latent T_h(z) by the OT map, then takes the reverse steps.

    Attributes:
        tv: the solve stops once the total variation between the map's masses and 1/N is certified below this.
        confidence: of that certificate.
        solve_samples: source samples for each target after which the solve gives up, and the record says so.
        map: `hard` (T_h = ∇u_h), `top-k` (AE-OT's extension between neighbouring cells) or `softmax`.
        k, angle: of the top-k map: neighbours looked at; largest angle between their normals, in radians.
        temperature: of the softmax map, in units of the scores.
    """

    title = "DPM-OT"
    family: ClassVar[Family] = "ot"
    summary = "one certified OT map to latents at σ_M, then a few reverse steps"
    version = 4

    tv: float = 0.05
    confidence: float = 0.99
    solve_samples: int = 2000
    map: Literal["hard", "top-k", "softmax"] = "hard"
    k: int = 5
    angle: float = 0.7
    temperature: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "solve_samples", "k")
        check_positive(self, "angle", "temperature")
        if not (0 < self.tv < 1 and 0 < self.confidence < 1):
            raise UserError(f"tv and confidence must lie in (0, 1), got {self.tv:g} and {self.confidence:g}")

    def start(self, latents: Latents, progress: bool) -> tuple[Start, dict[str, Any]]:
        transport = transport_problem(latents)
        solution = self.solve(transport, progress)
        brenier = self.make_map(transport, solution.heights)
        return (lambda z, noise: brenier(z.flatten(1)).reshape(z.shape)), report(solution)

    def solve(self, transport: SemiDiscreteProblem, progress: bool) -> Solution:
        """The OT solve with the options of this sampler."""
        budget = self.solve_samples * transport.num_targets
        return solve(transport, self.tv, self.confidence, budget, self.target_seed, progress=progress)

    def make_map(self, transport: SemiDiscreteProblem, heights: Tensor) -> Callable[[Tensor], Tensor]:
        """The map of the option `map`, from z [S, d] to latents [S, d]."""
        if self.map == "top-k":
            return TopKMap(transport, heights, k=self.k, angle=self.angle)
        if self.map == "softmax":
            return SoftmaxMap(transport, heights, temperature=self.temperature)
        return HardMap(transport, heights)
