"""The judge beside a running peer: a clock, and certificates at geometric numbers of samples, outside of the clock."""

import time
from typing import Any

import torch
from torch import Tensor

from .. import SemiDiscreteProblem, certify
from ..certificate import Certificate
from ..solving.attempts import Attempts

JUDGE = 10**6  # first seed of the judge's certificates: no solver's
CONFIDENCE = 0.99  # of each of them


class Finished(Exception):
    """The budget is spent, or the level reached: the way out of somebody else's loop."""


class Watch:
    """A peer asks `due` now and then and, if so, hands its heights to `judge`, which ends the run by `Finished`.

    The run gets `budget` seconds of its own (and the step in hand), up to the `deadline` of the clock on the wall
    (time.monotonic), or until the judge certifies the lowest of `levels`, of the total variation. Marks: 8·N samples,
    then √2 times as many each time, and the end of the budget.
    """

    def __init__(
        self, problem: SemiDiscreteProblem, budget: float, levels: tuple[float, ...], deadline: float = float("inf")
    ):
        self.problem, self.budget, self.levels, self.deadline = problem, budget, levels, deadline
        self.curve: list[dict[str, Any]] = []
        self.spent, self.begun, self.looks = 0.0, time.monotonic(), 0
        self.mark = 8.0 * problem.num_targets

    def start(self) -> None:
        """The clock begins (anew): what came before was importing and compiling."""
        settle(self.problem.targets)
        self.begun = time.monotonic()

    def due(self, samples: int) -> bool:
        now = time.monotonic()
        return samples >= self.mark or self.spent + now - self.begun >= self.budget or now >= self.deadline

    def judge(self, heights: Tensor, samples: int) -> None:
        settle(self.problem.targets)
        self.spent += time.monotonic() - self.begun
        judged = self._certify(heights)
        self.curve.append({"seconds": self.spent, "samples": samples, "judge": judged.to_dict()})
        while self.mark <= samples:
            self.mark *= 2**0.5
        if judged.tv_bound <= min(self.levels) or self.spent >= self.budget or time.monotonic() >= self.deadline:
            raise Finished
        self.start()

    def _certify(self, heights: Tensor) -> Certificate:
        """A look at few samples; at more only where these leave a level possible that the peer has not reached before.

        A glance at 4·N; if it leaves the highest such level possible, a look at 30·N; then, from that level downwards,
        at what dpmot's own certificate of the level takes (`needed`), unless χ² is surely too large for it.
        """
        n, lowest = self.problem.num_targets, min((p["judge"]["tv_bound"] for p in self.curve), default=float("inf"))
        levels = [level for level in sorted(self.levels, reverse=True) if level < lowest]
        judged = self._look(heights, 4 * n)
        # Neither of a certificate's two bounds can then fall so low: that by χ², nor that by the plug-in estimate,
        # which sampling noise lifts by ½√(N/samples) ≤ ¼.
        if not possible(judged, levels[0]) and judged.tv > levels[0] + 0.3:
            return judged
        judged = self._look(heights, 30 * n)
        for level in levels:
            if judged.tv_bound > level and possible(judged, level) and judged.samples < needed(level, self.problem):
                judged = self._look(heights, needed(level, self.problem))
        return judged

    def _look(self, heights: Tensor, samples: int) -> Certificate:
        self.looks += 1
        return certify(self.problem, heights, max(samples, 20_000), JUDGE + self.looks, CONFIDENCE)


def needed(level: float, problem: SemiDiscreteProblem) -> int:
    """Samples that certify heights to `level` where the estimate of χ² is at most 0.8 of what it allows."""
    return Attempts(level, CONFIDENCE, problem.weights).samples(1)


def possible(judged: Certificate, level: float) -> bool:
    """Whether a certificate leaves a χ² of at most (2·level)², which implies TV ≤ level, within its interval."""
    return judged.chi2_interval[0] <= (2 * level) ** 2


def settle(tensor: Tensor) -> None:
    """Wait for the GPU, if there is one."""
    if tensor.is_cuda:
        torch.cuda.synchronize()
