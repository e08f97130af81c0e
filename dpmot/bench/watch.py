"""The judge beside a running peer: a clock, and certificates at geometric numbers of samples, outside of the clock."""

import time
from typing import Any

import torch
from torch import Tensor

from .. import SemiDiscreteProblem, certify
from ..certificate import Certificate

JUDGE = 10**6  # seeds of the judge's certificates: no solver's


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
        self.spent, self.begun = 0.0, time.monotonic()
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
        """A glance at few samples; where that leaves the highest level possible, a look at more."""
        n, seed, level = self.problem.num_targets, JUDGE + 2 * len(self.curve), max(self.levels)
        glance = certify(self.problem, heights, max(4 * n, 20_000), seed=seed)
        # Neither of a certificate's two bounds can then fall so low: that by χ², nor that by the plug-in estimate,
        # which sampling noise lifts by ½√(N/samples) ≤ ¼.
        if glance.chi2_interval[0] > (2 * level) ** 2 and glance.tv > level + 0.3:
            return glance
        return certify(self.problem, heights, max(30 * n, 20_000), seed=seed + 1)


def settle(tensor: Tensor) -> None:
    """Wait for the GPU, if there is one."""
    if tensor.is_cuda:
        torch.cuda.synchronize()
