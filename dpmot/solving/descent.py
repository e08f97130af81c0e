"""The steps of a solve, and how many samples they take: burn-in, averaged descent, Newton's matrix.

The energy's gradient ∂E/∂h_j = μ(W_j) − ν_j is estimated by the histogram of a batch. Per cell the step is scaled by
the mean gap g_j between best and second-best score, about 1/|∂ log μ(W_j)/∂h_j|, known in closed form in high dimension
and refined on the way. Averaging the iterates reaches the sampling floor χ² ≈ N/S after S samples (Polyak and Juditsky
1992; Genans et al. 2025, arXiv 2510.25287).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..certificate import Certificate
from ..scores.cells import STREAMS, Cells
from ..scores.sampling import Histogram, histogram, shard_count, subspace_excess
from ..solution import Phase, State
from . import newton
from .starts import quantile

KAPPA = {"low": 1.0, "high": 0.5}  # a cell whose mass is off by 100% moves κ·g/√k at step k
PRIOR_SAMPLES = 4  # weight of the closed-form gap beside the measured one, in samples
BURN_IN = 40  # steps at most
GOAL = {"independent": 0.45, "recycled": 0.55}  # of the χ² asked for, by the sampling floor: what is left is 0.3 to 0.7
LIFTING = 64  # steps during which silent cells are lifted; later that would be a bias
SLOW = 3.0  # Newton's matrix is called for when χ² lies so many times above the sampling floor
POWER = 0.75  # the average's weights grow as k^POWER: forgets the start, costs (1+p)²/(1+2p) in variance
FLOOR = (1 + POWER) ** 2 / (1 + 2 * POWER)  # χ² of the average over the floor N/S


@dataclass(frozen=True, eq=False)
class Descent:
    """Steps towards the `chi2` asked for. subspace: inner dimension of recycled samples, 0 for independent ones."""

    cells: Cells
    seed: int
    subspace: int
    chi2: float

    @property
    def batch(self) -> int:
        """Samples of a step."""
        return max(2 * self.cells.num, 512)

    @property
    def planned(self) -> int:
        """Samples after which χ² should be well below the one asked for."""
        return max(int(FLOOR * self.excess * self.cells.num / self.goal), 10 * self.batch)

    @property
    def goal(self) -> float:
        """χ² that the descent is to reach."""
        return GOAL["recycled" if self.subspace else "independent"] * self.chi2

    @property
    def excess(self) -> float:
        """Variance of a batch's histogram over that of independent samples."""
        shard = math.ceil(self.batch / shard_count(self.batch, self.subspace or self.cells.dim))
        return 1 + subspace_excess(self.subspace, shard, self.cells.num)

    def floor(self, samples: int) -> float:
        """χ² that so many samples leave, were they independent."""
        return FLOOR * self.cells.num / samples

    def closed_form_gap(self) -> Tensor:
        """Mean gaps g_j [n] as they are in high dimension."""
        q = quantile(self.cells.masses)
        gap = self.cells.norms / (q + 1 / q)
        return gap.clamp(min=float(gap.mean()) * 1e-3)

    def histogram(self, heights: Tensor, stream: str, step: int, values: bool = False) -> Histogram:
        """Of the batch of a step."""
        key = (self.seed, STREAMS[stream], step)
        return histogram(self.cells, heights, self.batch, key, subspace=self.subspace, values=values)

    def variation(self, found: Histogram) -> float:
        """Total variation of a batch, sampling noise included."""
        return 0.5 * float((found.counts / found.total - self.cells.masses).abs().sum())

    def burn_in(self, state: State) -> Phase:
        """Take a step h_j −= η·g_j·log(mass/prescribed): from a far start, and until it no longer helps."""
        found = self.histogram(state.heights, "burn-in", state.step, values=True)
        state.drew("burn-in", found.total)
        state.step += 1
        assert found.gaps is not None
        state.gap_sum.mul_(0.7).add_(found.gaps)  # gaps seen far from the solution say little of it: forget them
        state.gap_count.mul_(0.7).add_(found.counts)
        error = self.variation(found)
        state.stalled = 0 if error < 0.95 * state.best else state.stalled + 1
        state.best = min(state.best, error)
        floor = 0.56 * math.sqrt(self.cells.num / self.batch)  # of the error: √(2/π)·½·√(n/b), and some room
        if error <= floor or state.stalled == 2 or state.step == BURN_IN:
            state.step, state.average = 0, state.heights.clone()
            return "descent"
        expected = found.total * self.cells.masses
        rate = 1.0 if error > 0.6 else 0.5
        state.heights -= rate * self._gap(state) * torch.log((found.counts + 0.5) / (expected + 0.5))
        return "burn-in"

    def step(self, state: State) -> None:
        """Take a step h_j −= κ·g_j/√k·(mass/prescribed − 1), and average.

        The average's weights are near k^POWER (Shamir and Zhang 2013).
        """
        found = self.histogram(state.heights, "descent", state.step)
        state.drew("descent", found.total)
        state.descent += found.total
        state.step += 1
        expected = found.total * self.cells.masses
        # A cell expected to be hit less than once moves by g at most at a hit; one far too large, by a few g a step.
        # The limit grows, lest it bias cells that are hit rarely but then often, as recycling makes them.
        relative = ((found.counts - expected) / expected.clamp(min=1.0)).clamp(max=5.0 * state.step**0.5)
        gap = self._gap(state)
        if state.estimates:
            error = found.counts / found.total - self.cells.masses
            state.heights -= newton.move(error, state.matrix, state.edges, gap, state.step)
        else:  # in low dimension cells touch few others, and errors of long wavelength need the larger step
            kappa = KAPPA["low" if self.cells.intrinsic <= 16 else "high"]
            state.heights -= kappa * state.step**-0.5 * gap * relative
        state.average += (state.heights - state.average) * ((1 + POWER) / (state.step + POWER))
        if state.step <= LIFTING:  # a cell that stays empty would recover too slowly
            state.silent = torch.where(found.counts > 0, 0.0, state.silent + expected)
            lift = torch.where(state.silent > 16, gap, 0.0)
            state.silent = torch.where(state.silent > 16, 8.0, state.silent)
            state.heights += lift
            state.average += lift

    def plan(self, state: State, certificate: Certificate) -> Phase:
        """Go on after a certificate that did not do: to Newton's matrix where progress is slow, or with a new goal."""
        slow = certificate.chi2 > SLOW * self.floor(state.descent)
        if slow and not self.subspace and self.cells.num <= newton.CELLS:
            return "facets"
        wanted = certificate.chi2 / self.goal
        state.goal = int(state.descent * min(max(wanted, 1.4), 8.0))
        return "descent"

    def couple(self, state: State) -> Phase:
        """Estimate Newton's matrix at the average; the first time, descend anew from there."""
        gap, key = self._gap(state), (self.seed, STREAMS["facets"], state.attempt)
        weights = newton.facets(self.cells, state.average, gap, key)
        state.drew("facets", newton.SAMPLES * self.cells.num)
        state.estimates += 1
        state.facets = weights if state.estimates == 1 else state.facets + (weights - state.facets) / state.estimates
        state.matrix = newton.inverse(state.facets, self.cells.masses / gap)
        state.edges = newton.edges(state.facets)
        if state.estimates == 1:
            state.heights, state.step, state.descent = state.average.clone(), 0, 0
        state.goal = int(1.4 * state.descent) or self.planned
        return "descent"

    def _gap(self, state: State) -> Tensor:
        """Mean gap per cell, shrunk towards the closed form, whose scale is set by the mean gap of all samples."""
        scale = state.gap_sum.sum() / (state.gap_count * state.gap_prior).sum()
        return (PRIOR_SAMPLES * scale * state.gap_prior + state.gap_sum) / (PRIOR_SAMPLES + state.gap_count)
