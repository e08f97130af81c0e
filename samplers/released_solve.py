"""The OT solve of DPM-OT's released code: Adam on the heights, with masses by Monte Carlo."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from dpmot.progress import progress_bar
from dpmot.scores.assign import assign, assign_exactly

BATCH = 4000
"""Source samples that are drawn at a time."""

BLOCK = 2**18
"""Scores that a thread holds at a time on a CPU: so many stay in its cache from the product to the argmax."""


@dataclass(frozen=True)
class Schedule:
    """How long the solve goes on, with how many samples.

    Attributes:
        iterations: of Adam, at most.
        samples: source samples of the first iteration.
        lr: Adam's step at the first iteration.
        bias_correction: whether Adam corrects its moments.
        tol, recount: stop at ‖gradient‖₂ < tol where no cell was empty when that was last looked at, which happens at
            every `recount`-th iteration.
    """

    iterations: int
    samples: int
    lr: float
    bias_correction: bool
    tol: float
    recount: int


@dataclass
class Adam:
    """Adam as the release writes it out, which leaves the moments as they are, or with their correction."""

    corrected: bool
    m: Tensor | float = 0.0
    v: Tensor | float = 0.0
    steps: int = 0

    def step(self, lr: float, gradient: Tensor) -> Tensor:
        """What a step subtracts from the heights, [N]."""
        self.steps += 1
        self.m = 0.9 * self.m + 0.1 * gradient
        self.v = 0.999 * self.v + 0.001 * gradient**2
        first, second = (1 - 0.9**self.steps, 1 - 0.999**self.steps) if self.corrected else (1, 1)
        return lr * (self.m / first) / ((self.v / second).sqrt() + 1e-8)


@dataclass
class Patience:
    """After 50 iterations without a smaller gradient, double the samples and shorten the step: three times at most."""

    best: float = float("inf")
    bad: int = 0
    doubled: int = 0

    def ends(self, norm: float) -> bool:
        """Whether this iteration is one too many."""
        self.best, self.bad = (norm, 0) if norm < self.best else (self.best, self.bad + 1)
        if self.bad <= 50 or self.doubled >= 3:
            return False
        self.best, self.bad, self.doubled = float("inf"), 0, self.doubled + 1
        return True


@dataclass
class Progress:
    """What a record keeps of the solve."""

    every: int
    drawn: int = 0
    began: float = field(default_factory=perf_counter)
    history: list[dict[str, float]] = field(default_factory=list)

    def note(self, iteration: int, samples: int, gradient: Tensor, empty: int) -> None:
        """Take down an iteration, where it is one of those kept."""
        self.drawn += samples
        if iteration % self.every == self.every - 1:
            point = {"samples": self.drawn, "seconds": perf_counter() - self.began, "tv": tv(gradient)}
            self.history.append(point | {"empty_cells": empty})


def find_heights(
    points: Tensor, draw: Callable[[int], Tensor], schedule: Schedule, progress: bool
) -> tuple[Tensor, dict[str, Any]]:
    """Heights of the scores ⟨x, y⟩ + h that give the points [N, d] equal masses, [N]; what to record of it.

    Args:
        draw: so many source samples, [count, d] on the points' device.

    The heights of the last iteration are used, as the release does. An iteration costs 2·N·samples·d operations, which
    a CPU does at nearly its full rate; a GPU scores float32 in half precision, and again where that leaves doubt.
    """
    count = len(points)
    heights = torch.zeros(count, dtype=points.dtype, device=points.device)
    adam, patience, kept = Adam(schedule.bias_correction), Patience(), Progress(max(10, schedule.iterations // 100))
    samples, lr, empty_at_last_look = schedule.samples, schedule.lr, count
    for iteration in progress_bar(range(schedule.iterations), "released OT", disable=not progress, leave=False):
        hits = count_hits(points, heights, draw, samples)
        gradient = hits.to(points.dtype) / samples - 1 / count
        heights = heights - adam.step(lr, gradient)
        heights = heights - heights.mean()
        norm, empty = float(gradient.norm()), int((hits == 0).sum())
        kept.note(iteration, samples, gradient, empty)
        if iteration % schedule.recount == schedule.recount - 1:
            empty_at_last_look = empty
        if norm < schedule.tol and empty_at_last_look == 0:
            break
        if patience.ends(norm):
            samples, lr = 2 * samples, 0.8 * lr
    return heights, {
        "iterations": iteration + 1,
        "samples": kept.drawn,
        "gradient_norm": norm,
        "in_sample_tv": tv(gradient),
        "empty_cells": empty,
        "history": kept.history,
    }


def tv(gradient: Tensor) -> float:
    """Total variation between the masses and 1/N, given their difference."""
    return float(gradient.abs().sum() / 2)


def count_hits(points: Tensor, heights: Tensor, draw: Callable[[int], Tensor], samples: int) -> Tensor:
    """How many of so many source samples each cell holds, int64 [N]."""
    hits = torch.zeros(len(points), dtype=torch.long, device=points.device)
    for size in batches(samples):
        hits += cells(draw(size), points, heights).bincount(minlength=len(points))
    return hits


def cells(x: Tensor, points: Tensor, heights: Tensor) -> Tensor:
    """The cell argmax_j ⟨x, y_j⟩ + h_j of every row of x [B, d]; int64 [B]."""
    if x.is_cuda and x.dtype == torch.float32:
        return assign_exactly(x, points, heights)
    rows = max(1, BLOCK * torch.get_num_threads() // len(points))
    return torch.cat([assign(part, points, heights).cell for part in x.split(rows)])


def batches(samples: int) -> Iterator[int]:
    """The sizes of the batches that so many samples are drawn in."""
    for start in range(0, samples, BATCH):
        yield min(BATCH, samples - start)
