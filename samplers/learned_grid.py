"""A learned grid: the noise levels of a plain solver, fitted by gradient to where a long run ends."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dpmot.progress import progress_bar
from samplers.base import Denoiser, End, Family, FittedSampler, Problem, ReverseSampler, Sampler
from samplers.errors import UserError
from samplers.noise import GRIDS, ShardNoise, make_grid, stream
from samplers.options import check_at_least, check_positive
from samplers.pairs import Pairs, make_pairs
from samplers.registry import lookup, register

LOOK = 10
"""Steps of the fit between two looks at the pairs that it does not see."""


@dataclass(frozen=True)
class Levels:
    """Where a solver steps, and at which levels it asks the denoiser.

    Attributes:
        sigmas: the solver's levels, decreasing from σ_max to σ_min, float64 [intervals + 1].
        asked: what the denoiser is told in the place of each, float64 [intervals + 1].
    """

    sigmas: Tensor
    asked: Tensor

    def denoiser(self, denoiser: Denoiser) -> Denoiser:
        """A denoiser that is asked at `asked` where the solver says `sigmas`, and as ever elsewhere."""
        places = {float(sigma.detach()): k for k, sigma in enumerate(self.sigmas)}

        def ask(x: Tensor, sigma: Tensor) -> Tensor:
            place = places.get(float(sigma.detach()))
            return denoiser(x, sigma if place is None else self.asked[place])

        return ask


@dataclass(frozen=True)
class Walk:
    """A solver on levels of one's own, from white noise at σ_max down to the end that its option says.

    Attributes:
        solver: what steps down; its own grid is not used.
        nfe: its budget.
        sigma_max, sigma_min: the ends of the levels.
    """

    solver: ReverseSampler
    nfe: int
    sigma_max: float
    sigma_min: float

    def __call__(self, denoiser: Denoiser, noise: Tensor, levels: Levels, shard: ShardNoise) -> Tensor:
        """Samples from white noise [S, ...]."""
        ask = levels.denoiser(denoiser)
        return self.solver.descend(ask, self.sigma_max * noise, levels.sigmas, shard, self.nfe)


class Parameters:
    """Levels as functions of numbers without bounds: gaps in λ = −log σ by softmax, what is asked by tanh.

    What is asked stays within half a gap of the solver's level; both ends are fixed.
    """

    def __init__(self, start: Tensor, shifted: bool) -> None:
        self.ends = start[[0, -1]]
        gaps = -start.log().diff()
        self.gaps = gaps.log().requires_grad_(True)
        self.shifts = torch.zeros(len(start) - 2, dtype=torch.float64, requires_grad=shifted)

    def __call__(self) -> Levels:
        highest, lowest = self.ends.log()
        gaps = self.gaps.softmax(0) * (highest - lowest)
        inner = (highest - gaps.cumsum(0)[:-1]).exp()
        room = torch.minimum(gaps[:-1], gaps[1:]).detach() / 2
        asked = inner * (room * self.shifts.tanh()).exp()
        first, last = self.ends.split(1)
        return Levels(torch.cat([first, inner, last]), torch.cat([first, asked, last]))


def distance(x: Tensor, ends: Tensor) -> Tensor:
    """Root mean square difference of every sample from its end, [B]."""
    return (x - ends).flatten(1).square().mean(1).clamp(min=1e-24).sqrt()


@register("learned-grid")
@dataclass(frozen=True)
class LearnedGrid(Sampler):
    """LD3: the levels of a solver are learned so that it ends where a long run from the same noise does.

    The gradient flows through all steps of the solver; every evaluation is made anew on the way back, so that memory
    does not grow with the steps. The bound is soft (section 3.2 of the paper): while learning, the noise may move by
    `radius`, since a few steps cannot hit every end, but can hit that of a noise nearby. The levels at which the
    denoiser is asked are learned beside those of the steps (section 3.3). Half of the pairs are learned from; the other
    half decide which levels are kept, the named grids among them. Adam takes the place of the authors' RMSprop, root
    mean square distance that of LPIPS.

    Attributes:
        solver: any registered reverse solver that is deterministic.
        end: as of the solver, see `ReverseSampler`.
        shifted: the levels at which the denoiser is asked are learned apart.
        pairs: of noise and the end of a long run; half of them are learned from.
        teacher, teacher_nfe: the solver of the long run, and its evaluations.
        radius: how far the noise may move, root mean square over its coordinates.
        steps: of the optimiser.
        batch: pairs of a step.
        lr: learning rate of Adam; it falls to zero linearly.
        grid_seed: seed of the pairs and of their order.
    """

    title = "learned grid"
    family: ClassVar[Family] = "plain"
    summary = "the levels of a plain solver, fitted to a long run's ends"
    paper = "Tong, Hoang, Liu, Van den Broeck, Niepert 2025, arXiv 2405.15506"

    solver: str = "unipc"
    end: End = "denoise"
    shifted: bool = True
    pairs: int = 200
    teacher: str = "heun"
    teacher_nfe: int = 99
    radius: float = 0.001
    steps: int = 200
    batch: int = 50
    lr: float = 0.02
    grid_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 2, "pairs")
        check_at_least(self, 1, "batch", "teacher_nfe")
        check_at_least(self, 0, "steps", "radius")
        check_positive(self, "lr")

    def make_solver(self) -> ReverseSampler:
        """Make the solver whose levels are learned."""
        entry = lookup(self.solver)
        if not issubclass(entry.cls, ReverseSampler):
            raise UserError(f"solver must be a reverse solver such as unipc, not '{self.solver}'")
        solver = entry.cls(end=self.end)
        if solver.convergence is None:
            raise UserError(f"solver must be deterministic, and {self.solver} adds noise")
        return solver

    def check(self, nfe: int) -> None:
        self.make_solver().check(nfe)

    def fit(self, problem: Problem, nfe: int, progress: bool = False) -> "FittedGrid":
        self.check(nfe)
        walk = Walk(self.make_solver(), nfe, problem.sigma_max, problem.sigma_min)
        intervals = walk.solver.intervals(nfe)
        versions = f"version {self.version}, of the solver {walk.solver.revision}"
        key = f"learned grid of {intervals} intervals for {nfe} evaluations, {self}, {versions}"
        found = problem.remember(key, lambda: self.learn(problem, walk, intervals, progress)).cpu().double()
        levels = Levels(*found[: 2 * intervals + 2].chunk(2))
        names = ("evaluations", "backward_evaluations", "error_of_named_grid", "error", "grid_seconds")
        info = dict(zip(names, found[2 * intervals + 2 :].tolist(), strict=True))
        info |= {"sigmas": levels.sigmas.tolist(), "asked": levels.asked.tolist()}
        return FittedGrid(walk, levels, info=info, seconds=info["grid_seconds"])

    def learn(self, problem: Problem, walk: Walk, intervals: int, progress: bool) -> Tensor:
        """Learn the levels; float64 [2·intervals + 7]: them, what is asked, and what `fit` says of the cost."""
        pairs = make_pairs(problem, self.teacher, self.teacher_nfe, self.pairs, self.grid_seed)
        began = perf_counter()
        fit = Fit(self, problem, walk, pairs)
        levels, before, after = fit.run(intervals, progress)
        cost = [pairs.evaluations + fit.forward, fit.backward, before, after, pairs.seconds + perf_counter() - began]
        return torch.cat([levels.sigmas, levels.asked, torch.tensor(cost, dtype=torch.float64)]).detach()


@dataclass(frozen=True)
class FittedGrid(FittedSampler):
    """A solver on its learned levels; `info` says what learning them took."""

    walk: Walk
    levels: Levels

    def sample(self, denoiser: Denoiser, noise: ShardNoise) -> Tensor:
        """Draw the samples of one shard, [S, ...]."""
        return self.walk(denoiser, noise.initial(), self.levels, noise)


class Fit:
    """A fit of levels to pairs, which counts what it asks of the denoiser.

    Attributes:
        forward, backward: evaluations of the denoiser, and passes of the gradient through it, samples counted each.
    """

    def __init__(self, options: LearnedGrid, problem: Problem, walk: Walk, pairs: Pairs) -> None:
        self.options, self.problem, self.walk = options, problem, walk
        half = len(pairs.noise) // 2
        self.noise, self.ends = pairs.noise[:half], pairs.ends[:half]
        self.unseen_noise, self.unseen_ends = pairs.noise[half:], pairs.ends[half:]
        self.unused = ShardNoise(0, "deterministic", (1,))
        self.forward = self.backward = 0

    def run(self, intervals: int, progress: bool) -> tuple[Levels, float, float]:
        """The best levels, the unseen pairs' error on the best named grid, and on those levels."""
        ends = self.walk.sigma_max, self.walk.sigma_min
        named = [make_grid(name, intervals, *ends) for name in GRIDS]
        errors = [self.error(Levels(grid, grid)) for grid in named]
        start = named[min(range(len(named)), key=errors.__getitem__)]
        best, before = Levels(start, start), min(errors)
        if intervals == 1 or not self.options.steps:
            return best, before, before
        after = before
        for levels in self.descend(Parameters(start, self.options.shifted), progress):
            if (error := self.error(levels)) < after:
                best, after = levels, error
        return best, before, after

    @torch.no_grad()
    def error(self, levels: Levels) -> float:
        """Mean distance of the unseen pairs; infinite where it is no number."""
        found = [
            distance(self.walk(self.count, noise, levels, self.unused), ends)
            for noise, ends in self.parts(self.unseen_noise, self.unseen_ends)
        ]
        error = float(torch.cat(found).double().mean())
        return error if math.isfinite(error) else math.inf

    def parts(self, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Batches of these tensors side by side."""
        return zip(*(tensor.split(self.options.batch) for tensor in tensors), strict=True)

    def count(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The problem's denoiser, counted."""
        self.forward += len(x)
        return self.problem.denoiser(x, torch.as_tensor(sigma, dtype=x.dtype, device=x.device))

    def passed_back(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The problem's denoiser for the gradient, which evaluates it anew."""
        self.backward += len(x)
        return checkpoint(self.count, x, sigma, use_reentrant=False, preserve_rng_state=False)

    @torch.enable_grad()
    def descend(self, parameters: Parameters, progress: bool) -> Iterator[Levels]:
        """Take the optimiser's steps; yields the levels every few of them."""
        options, moved = self.options, self.noise.clone()
        learned = [p for p in (parameters.gaps, parameters.shifts) if p.requires_grad]
        optimiser = torch.optim.Adam(learned, options.lr)
        generator = stream("learned grid", options.grid_seed)
        for step in progress_bar(range(options.steps), "learned grid", leave=False, disable=not progress):
            optimiser.param_groups[0]["lr"] = options.lr * (1 - step / options.steps)
            chosen = torch.randperm(len(moved), generator=generator)[: options.batch].to(moved.device)
            noise = moved[chosen].requires_grad_(options.radius > 0)
            ended = self.walk(self.passed_back, noise, parameters(), self.unused)
            optimiser.zero_grad()
            distance(ended, self.ends[chosen]).mean().backward()
            nn.utils.clip_grad_norm_(learned, 1.0)
            optimiser.step()
            if options.radius > 0:
                moved[chosen] = self.nearer(noise.detach(), noise.grad, self.noise[chosen])
            if step % LOOK == LOOK - 1 or step == options.steps - 1:
                with torch.no_grad():
                    yield parameters()

    def nearer(self, noise: Tensor, slope: Tensor | None, origin: Tensor) -> Tensor:
        """Noise [B, ...] moved against the slope by a quarter of the radius, within the ball around `origin`."""
        assert slope is not None
        root = math.sqrt(noise[0].numel())
        radius = self.options.radius * root

        def lengths(x: Tensor) -> Tensor:
            return x.flatten(1).norm(dim=1).clamp(min=1e-30).reshape(-1, *[1] * (x.ndim - 1))

        away = noise - radius / 4 * slope / lengths(slope) - origin
        return origin + away * (radius / lengths(away)).clamp(max=1)
