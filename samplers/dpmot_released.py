"""DPM-OT as its released code does it (github.com/cognaclee/DPM-OT, commit b7956eb).

Written anew from reading that code. Each way in which it differs from the description (`samplers.dpmot`) is an option
with the released behaviour as its default, or, where that makes no difference of kind, in its `preset`. Levels are in
units of images in [−1, 1], twice those of the release.
"""

import math
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor

from samplers.base import Denoiser, FittedSampler, Problem, ReverseSampler, Sampler
from samplers.errors import UserError
from samplers.latents import Targets, make_latents
from samplers.noise import ShardNoise, stream
from samplers.options import added, check_at_least, check_positive
from samplers.registry import lookup, register
from samplers.released_solve import BATCH, Schedule, cells, find_heights


@register("dpmot-released")
@dataclass(frozen=True)
class DPMOTReleased(Sampler):
    """Uniform source, uncentred Adam, latents from the test split, and a chain that starts below their level.

    The ladder is σ_j, j = 0..L−1, geometric. Latents are noised at σ[L−B]; the chain starts at σ[L−⌈B/n⌉] and makes n
    Langevin steps a level (B mod n at the last, where that is not 0), then one denoising evaluation: NFE = B + 1.

    Attributes:
        targets: `test`, as `test()` of the release noises the test images; `train` or `model` otherwise.
        count: how many latents, N.
        level: `mismatched` as released, or `matched` (the latents at the level where the chain starts).
        source: `uniform` on [0, 1]^d, or `gaussian`.
        centred: subtract the means of source and targets before solving (the release does not).
        iterations: Adam's iterations (the release's `max_iter` is 10,000; as it stands it runs the last 1,001, on
            heights that it doesn't ship).
        lr: Adam's step; twice the release's 0.1, as heights scale with the levels.
        bias_correction: Adam's correction of its moments (the release has none).
        tol: stop at ‖gradient‖₂ < tol with no empty cell; it lies below the sampling noise at N = 10,000.
        cut: leave out the last targets, so that a multiple of this many is left (the release: 1,000).
        whole_batches: take ⌊10 N/4,000⌋ batches of 4,000 source samples an iteration (the release), not 10 N samples.
        recount: look for empty cells at every so many iterations (the release: 50).
        reverse: `ladder`, the release's chain of Langevin steps, or any registered reverse solver from where it starts.
        levels, sigma_max, sigma_min: the ladder; CIFAR-10's of the release by default.
        n_steps_each: n, Langevin steps a level.
        step: Langevin step size over σ², the release's step_lr/σ_min².
        target_seed: seed of the latents' noise and of the solve.
    """

    title = "DPM-OT released"
    family = "ot"
    summary = "the released code's scheme: uniform source, mismatched level, Langevin"
    paper = "github.com/cognaclee/DPM-OT, commit b7956eb"
    preset = {"count": 10_000, "iterations": 10_000, "cut": 1000, "whole_batches": True, "recount": 50}
    version = 2

    targets: Targets = "test"
    count: int = 1000
    level: Literal["mismatched", "matched"] = "mismatched"
    source: Literal["uniform", "gaussian"] = "uniform"
    centred: bool = False
    iterations: int = 1000
    lr: float = 0.2
    bias_correction: bool = False
    tol: float = 8e-4
    reverse: str = "ladder"
    levels: int = 232
    sigma_max: float = 100.0
    sigma_min: float = 0.02
    n_steps_each: int = 5
    step: float = 0.062
    target_seed: int = 0
    cut: int = added(1)
    whole_batches: bool = added(False)
    recount: int = added(1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "count", "iterations", "n_steps_each", "levels", "cut", "recount")
        check_positive(self, "lr", "step")
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise UserError(f"needs 0 < sigma_min < sigma_max, got {self.sigma_min:g} and {self.sigma_max:g}")

    @property
    def from_examples(self) -> bool:
        return self.targets != "model"

    def check(self, nfe: int) -> None:
        if nfe < 2:
            raise UserError(f"needs at least 2 evaluations, got {nfe}")
        if nfe > self.levels:
            raise UserError(f"has a ladder of {self.levels} levels, too few for {nfe} evaluations")
        if solver := self.solver():
            solver.check(nfe)

    def solver(self) -> ReverseSampler | None:
        """The reverse solver, where it is not the release's ladder."""
        if self.reverse == "ladder":
            return None
        solver = lookup(self.reverse).make()
        if not isinstance(solver, ReverseSampler):
            raise UserError(f"reverse must be ladder or a reverse solver such as ddim, not '{self.reverse}'")
        return solver

    def langevin_steps(self, back: int) -> list[int]:
        """Steps at each of the last ⌈B/n⌉ levels, for B = `back`."""
        whole, rest = divmod(back, self.n_steps_each)
        return [self.n_steps_each] * whole + [rest] * (rest > 0)

    def fit(self, problem: Problem, nfe: int, progress: bool = False) -> "_Fitted":
        self.check(nfe)
        back = nfe - 1
        ratio = (self.sigma_min / self.sigma_max) ** (1 / (self.levels - 1))
        ladder = [self.sigma_max * ratio**j for j in range(self.levels)]
        steps = self.langevin_steps(back)
        chain = ladder[self.levels - len(steps) :]
        sigma_m = chain[0] if self.level == "matched" else ladder[self.levels - back]
        if self.reverse != "ladder" and len(chain) < 2:
            raise UserError(f"reverse={self.reverse} needs a chain that starts above sigma_min: more evaluations")
        latents = self.whole(make_latents(problem, self.targets, self.count, sigma_m, self.target_seed).noised)
        began = perf_counter()
        points = self.centre(latents.flatten(1))
        heights, info = self.solve(points, progress)
        info |= {"sigma_m": sigma_m, "chain_start": chain[0], "targets": len(latents)}
        info["start_seconds"] = perf_counter() - began
        return _Fitted(self, nfe, latents, points, heights, list(zip(chain, steps, strict=True)), info=info)

    def whole(self, latents: Tensor) -> Tensor:
        """The first of the latents [N, *shape], as many as a multiple of `cut`."""
        count = len(latents) // self.cut * self.cut
        if not count:
            raise UserError(f"cut={self.cut} leaves none of {len(latents)} targets: take more, or a smaller cut")
        return latents[:count]

    def centre(self, points: Tensor) -> Tensor:
        """The points [N, d] as the scores see them."""
        return points - points.mean(0) if self.centred else points

    def source_samples(self, z: Tensor) -> Tensor:
        """White noise z as samples of the source, as the scores see them; uniform ones are Φ(z)."""
        x = torch.special.ndtr(z) if self.source == "uniform" else z
        return x - 0.5 if self.centred and self.source == "uniform" else x

    def solve(self, points: Tensor, progress: bool) -> tuple[Tensor, dict[str, Any]]:
        """Heights of the scores ⟨x, y⟩ + h by the release's Adam, [N]; what to record of it.

        An iteration counts some 10 N source samples. They are drawn on the points' device, on which the heights
        therefore depend.
        """
        count, dim = points.shape
        generator = torch.Generator(points.device).manual_seed(stream("released", self.target_seed).initial_seed())

        def draw(size: int) -> Tensor:
            z = torch.randn(size, dim, generator=generator, dtype=points.dtype, device=points.device)
            return self.source_samples(z)

        schedule = Schedule(
            iterations=self.iterations,
            samples=self.samples(count),
            lr=self.lr,
            bias_correction=self.bias_correction,
            tol=self.tol,
            recount=self.recount,
        )
        return find_heights(points, draw, schedule, progress)

    def samples(self, count: int) -> int:
        """Source samples of the first iterations for so many targets."""
        whole = 10 * count // BATCH * BATCH
        if self.whole_batches and not whole:
            raise UserError(f"whole_batches takes at least {BATCH // 10} targets, got {count}: set whole_batches=false")
        return whole if self.whole_batches else 10 * count


@dataclass(frozen=True)
class _Fitted(FittedSampler):
    sampler: DPMOTReleased
    nfe: int
    latents: Tensor
    points: Tensor
    heights: Tensor
    chain: list[tuple[float, int]]

    def start(self, z: Tensor) -> Tensor:
        """The latent that white noise z [S, *shape] is sent to."""
        return self.latents[cells(self.sampler.source_samples(z.flatten(1)), self.points, self.heights)]

    def sample(self, denoiser: Denoiser, noise: ShardNoise) -> Tensor:
        """Samples of one shard, [S, ...]."""
        x, lowest = self.start(noise.initial()), self.sampler.sigma_min
        if solver := self.sampler.solver():
            return solver.solve(denoiser, x, self.chain[0][0], lowest, noise, self.nfe)
        for sigma, steps in self.chain:
            size = self.sampler.step * sigma**2
            level = torch.tensor(sigma, dtype=torch.float64)
            for _ in range(steps):
                score = (denoiser(x, level) - x) / sigma**2
                x = x + size * score + (2 * size) ** 0.5 * noise.step()
        return denoiser(x, torch.tensor(lowest, dtype=torch.float64))
