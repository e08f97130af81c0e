"""Heights whose cells have the prescribed masses: averaged stochastic gradient descent that stops on a certificate.

Minimises the convex energy E(h) = ∫ max_j{⟨x, y_j⟩ + h_j} dμ − Σ ν_j h_j, with ∂E/∂h_j = μ(W_j) − ν_j estimated by the
histogram of a batch. Per cell the step is scaled by the mean gap g_j between best and second-best score, about
1/|∂ log μ(W_j)/∂h_j|, known in closed form in high dimension and refined on the way. Averaging the iterates reaches the
sampling floor χ² ≈ N/S after S samples (Polyak and Juditsky 1992; Genans et al. 2025, arXiv 2510.25287).
"""

import math
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from tqdm import tqdm

from . import newton
from .attempts import Attempts
from .cells import STREAMS, Cells
from .certificate import Certificate, from_counts, product_chi2
from .problem import SemiDiscreteProblem, fraction, whole
from .sampling import Histogram, histogram, shard_count, sharing, subspace_excess, subspace_size
from .solution import Checkpoint, Solution, State, digest, fingerprint
from .starts import on_a_line, quantile, starts

KAPPA = {"low": 1.0, "high": 0.5}  # a cell whose mass is off by 100% moves κ·g/√k at step k
PRIOR_SAMPLES = 4  # weight of the closed-form gap beside the measured one, in samples
BURN_IN = 40  # steps at most
GOAL = {"independent": 0.45, "recycled": 0.55}  # of the χ² asked for, by the sampling floor: what is left is 0.3 to 0.7
SLOW = 3.0  # Newton's matrix is called for when χ² lies so many times above the sampling floor
GOOD = 0.6  # of the χ² asked for: a start is certified as it is where it has no more ...
SURE = 0.25  # ... by an estimate with a standard error of this part of it
WORSE = 1.5  # times the error of a closed form: a warm start is given up that is worse than this
LIFTING = 64  # descent steps during which silent cells are lifted; later that would be a bias
POWER = 0.75  # the average's weights grow as k^POWER: forgets the start, costs (1+p)²/(1+2p) in variance
BLOCK = {"cpu": 1, "cuda": 64}  # shards of a certificate that each rank draws between two saves
FLOOR = (1 + POWER) ** 2 / (1 + 2 * POWER)  # χ² of the average over the floor N/S


def solve(
    problem: SemiDiscreteProblem,
    tv: float = 0.05,
    confidence: float = 0.99,
    max_samples: int | None = None,
    seed: int = 0,
    heights: Tensor | None = None,
    *,
    device: torch.device | str | None = None,
    precision: str = "auto",
    recycle: bool = True,
    shard_targets: bool | str = "auto",
    progress: bool = False,
    checkpoint: str | Path | None = None,
) -> Solution:
    """Heights certified to total variation ≤ `tv` at `confidence`, or the best reached within `max_samples`.

    tv: target for ½Σ|μ(W_j) − ν_j|. The certificate is computed on fresh samples; when one falls narrowly short, as
        many again are added to it, else the solve goes on and tries again. The error probability 1 − confidence is
        spent over all attempts (nine tenths of what is left on each, and of that nine tenths before the addition), so
        that the statement holds for whichever attempt ends the solve.
    max_samples: for the optimisation; by default 50 times what the sampling floor asks for.
    heights: warm start [N], if no closed form is clearly better. recycle: allow subspace recycling (Gaussian sources).
    device: where to compute, the targets' device by default. precision: auto (fp16 on a GPU, else fp32), or a name.
    shard_targets: keep on each rank only its share of the targets' rows; "auto": where a GPU can't hold them all.
    checkpoint: a file that keeps the state; an interrupted solve continues from it, with the same result, and removes
        it at the end. A kill loses the work since the last save: a second, or a step or BLOCK that takes longer.

    In an initialised process group (`torchrun`) all ranks share the samples, or each sample goes past the targets of
    all ranks if those are sharded; all get the same solution, whatever their number (sharded: up to rounding; of "auto"
    that holds where targets that are not sharded would not be reduced, see `Cells`).
    MemoryError where a GPU's memory is too small.
    """
    tv, confidence, seed = fraction(tv, "tv"), fraction(confidence, "confidence"), whole(seed, "seed")
    if max_samples is not None:
        max_samples = whole(max_samples, "max_samples", 1)
    begun = time.perf_counter()
    cells = Cells.of(problem, device, precision, shard_targets)
    _synchronize(cells.device)
    prepared = time.perf_counter() - begun
    solver = _Solver(cells, tv, confidence, max_samples, seed, subspace_size(cells) if recycle else 0, progress)
    identity = {
        "problem": solver.problem, "seed": seed, "subspace": solver.subspace, "precision": cells.precision,
        "tv": tv, "confidence": confidence, "heights": heights if heights is None else digest(cells.inner(heights)),
    }  # fmt: skip
    keep = Checkpoint(Path(checkpoint), identity) if checkpoint is not None else None
    state = keep.load(cells.device) if keep else None
    state = state or solver.start(heights)
    state.took("prepare", prepared)
    solution = solver.run(state, keep)
    if keep:
        keep.path.unlink(missing_ok=True)
    return solution


@dataclass(frozen=True, eq=False)
class _Solver:
    cells: Cells
    tv: float
    confidence: float
    max_samples: int | None
    seed: int
    subspace: int
    progress: bool

    @property
    def batch(self) -> int:
        return max(2 * self.cells.num, 512)

    @cached_property
    def attempts(self) -> Attempts:
        return Attempts(self.tv, self.confidence, self.cells.masses)

    @cached_property
    def problem(self) -> str:
        return fingerprint(self.cells.problem, self.cells.keys)

    @property
    def limit(self) -> int:
        return self.max_samples or 50 * self._floor_samples()

    def start(self, heights: Tensor | None) -> State:
        """The solution where it is known; else of warm start and closed forms that with the least error on a batch."""
        begun = time.perf_counter()
        cells = self.cells
        warm, known = [] if heights is None else [cells.inner(heights)], on_a_line(cells)
        candidates = [*warm, *starts(cells)] if known is None else [known]
        judged = candidates if len(candidates) > 1 else []
        errors = [self._error(self._histogram(h, "start", 0)) for h in judged]
        if errors and warm:
            errors[0] /= WORSE
        best = errors.index(min(errors)) if errors else 0
        start = candidates[best]
        gap = cells.norms / (quantile(cells.masses) + 1 / quantile(cells.masses))
        gap = gap.clamp(min=float(gap.mean()) * 1e-3)
        zero = torch.zeros_like(gap)
        none = gap.new_zeros(0, 0)
        count = zero.long()
        zeros = (zero, zero.clone(), zero.clone(), count, count.clone())
        state = State(start, start.clone(), gap, *zeros, none, none, none)
        state.goal = self._floor_samples()
        state.drew("start", len(errors) * self.batch)
        told = known is not None or (warm and best == 0) or cells.num == 1
        state.phase = "certificate" if told else "start"
        state.took("start", time.perf_counter() - begun)
        return state

    def run(self, state: State, keep: Checkpoint | None) -> Solution:
        rank = dist.get_rank() if dist.is_initialized() else 0
        hidden = not self.progress or rank > 0
        bar = tqdm(initial=state.samples, unit="sample", unit_scale=True, disable=hidden)
        certificate: Certificate | None = None
        with bar:
            while certificate is None:
                begun, phase, before = time.perf_counter(), state.phase, state.samples
                bar.set_description(phase + self._drawn(state))
                bar.total = min(state.samples - state.descent + state.goal, self.limit)  # to the next certificate
                if phase == "start":
                    self._try_start(state)
                elif phase == "burn-in":
                    self._burn_in_step(state)
                elif phase == "descent":
                    self._descent_step(state)
                else:
                    certificate = self._certify(state)
                    if state.history:
                        bar.set_postfix_str(f"TV ≤ {state.history[-1]['tv_bound']:.3g}")
                if certificate is not None or phase != state.phase:
                    _synchronize(self.cells.device)
                state.took(phase, time.perf_counter() - begun)
                bar.update(state.samples - before)
                if keep and rank == 0:
                    keep.save(state)
        return Solution(
            heights=self.cells.outer(state.average).cpu(),
            certificate=certificate,
            converged=certificate.tv_bound <= self.tv,
            tv=self.tv,
            confidence=self.confidence,
            samples=state.samples,
            certificate_samples=state.certificate_samples,
            seconds=state.seconds,
            phase_samples=state.phase_samples,
            history=state.history,
            seed=self.seed,
            problem=self.problem,
        )

    def _try_start(self, state: State) -> None:
        """Certify the start as it is? Closed forms may do for targets nearly alike in length in high dimension.

        By two histograms that grow until the standard error of χ², near zero √n/samples times their excess of variance,
        is small, or the answer clear.
        """
        for sums in (state.hits, state.twin):
            state.step += 1
            sums += self._histogram(state.heights, "start", state.step).counts
        state.drew("start", 2 * self.batch)
        limit, chi2 = self.attempts.chi2, product_chi2(state.hits, state.twin, self.cells.masses)
        error = self._excess * math.sqrt(self.cells.num) / float(state.hits.sum())
        if error <= SURE * limit or chi2 - 2 * error > limit or chi2 + 2 * error < GOOD * limit:
            state.phase, state.step = "certificate" if chi2 <= GOOD * limit else "burn-in", 0
            state.hits.zero_()
            state.twin.zero_()

    def _burn_in_step(self, state: State) -> None:
        """h_j −= η·g_j·log(mass/prescribed): from a far start, and until it no longer helps."""
        found = self._histogram(state.heights, "burn-in", state.step, values=True)
        state.drew("burn-in", found.total)
        state.step += 1
        assert found.gaps is not None
        state.gap_sum.mul_(0.7).add_(found.gaps)  # gaps seen far from the solution say little of it: forget them
        state.gap_count.mul_(0.7).add_(found.counts)
        error = self._error(found)
        state.stalled = 0 if error < 0.95 * state.best else state.stalled + 1
        state.best = min(state.best, error)
        floor = 0.56 * math.sqrt(self.cells.num / self.batch)  # of the error: √(2/π)·½·√(n/b), and some room
        if error <= floor or state.stalled == 2 or state.step == BURN_IN:
            state.phase, state.step, state.average = "descent", 0, state.heights.clone()
            return
        expected = found.total * self.cells.masses
        rate = 1.0 if error > 0.6 else 0.5
        state.heights -= rate * self._gap(state) * torch.log((found.counts + 0.5) / (expected + 0.5))

    def _descent_step(self, state: State) -> None:
        """h_j −= κ·g_j/√k·(mass/prescribed − 1), then the average with weights near k^POWER (Shamir and Zhang 2013)."""
        found = self._histogram(state.heights, "descent", state.step)
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
        if state.descent >= state.goal or state.samples >= self.limit:
            state.phase = "certificate"

    def _certify(self, state: State) -> Certificate | None:
        """Draw a block of a look's fresh samples; at its last, what all of the attempt say. None: go on.

        An attempt that failed narrowly has a second look, whose samples are added to those of the first.
        """
        again = state.looks > 0
        state.attempt += not again and state.shard == 0
        samples, error = self.attempts.samples(state.attempt), self.attempts.error(state.attempt, again)
        heights = self.cells.inner(self.cells.outer(state.average))  # as they will be returned, in float32
        key = (self.seed, STREAMS["certificate"], state.attempt, int(again))
        part = slice(state.shard, state.shard + BLOCK.get(self.cells.device.type, 1) * sharing(self.cells)[1])
        state.hits += histogram(self.cells, heights.float(), samples, key, part=part).counts
        state.shard = part.stop
        if state.shard < shard_count(samples, self.cells.dim):
            return None
        state.shard, state.looks = 0, state.looks + 1
        certificate = from_counts(state.hits, self.cells.masses, error, self.cells.first)
        state.drew("certificate", samples)
        seconds = sum(spent for phase, spent in state.seconds.items() if phase != "certificate")
        reached = {"samples": state.samples, "seconds": seconds}
        state.history.append({**certificate.to_dict(), "certificate_samples": samples, **reached})
        if certificate.tv_bound <= self.tv:
            return certificate
        if not again and self.attempts.narrow(certificate, state.attempt):
            return None
        if state.samples >= self.limit:
            return certificate
        state.hits.zero_()
        state.looks = 0
        if state.step == 0:  # the warm start was not good enough
            state.phase = "burn-in"
            return None
        state.phase = "descent"
        slow = certificate.chi2 > SLOW * FLOOR * self.cells.num / state.descent
        if slow and not self.subspace and self.cells.num <= newton.CELLS:
            self._couple(state)
            state.goal = int(1.4 * state.descent) or self._floor_samples()
        else:
            wanted = certificate.chi2 / self._goal
            state.goal = int(state.descent * min(max(wanted, 1.4), 8.0))
        return None

    def _drawn(self, state: State) -> str:
        """How much of a certificate's look has been drawn, for the progress bar."""
        if state.shard == 0:
            return ""
        return f" {state.shard / shard_count(self.attempts.samples(state.attempt), self.cells.dim):.0%}"

    def _couple(self, state: State) -> None:
        """Estimate Newton's matrix at the average; the first time, descend anew from there."""
        begun, gap, key = time.perf_counter(), self._gap(state), (self.seed, STREAMS["facets"], state.attempt)
        weights = newton.facets(self.cells, state.average, gap, key)
        state.drew("facets", newton.SAMPLES * self.cells.num)
        state.estimates += 1
        state.facets = weights if state.estimates == 1 else state.facets + (weights - state.facets) / state.estimates
        state.matrix = newton.inverse(state.facets, self.cells.masses / gap)
        state.edges = newton.edges(state.facets)
        _synchronize(self.cells.device)
        seconds = time.perf_counter() - begun
        state.took("facets", seconds)
        state.took("certificate", -seconds)  # in the midst of which it was made
        if state.estimates == 1:
            state.heights, state.step, state.descent = state.average.clone(), 0, 0

    def _floor_samples(self) -> int:
        """Descent samples after which χ² should be well below the one asked for."""
        return max(int(FLOOR * self._excess * self.cells.num / self._goal), 10 * self.batch)

    @property
    def _goal(self) -> float:
        """χ² that the descent is to reach."""
        return GOAL["recycled" if self.subspace else "independent"] * self.attempts.chi2

    @property
    def _excess(self) -> float:
        """Variance of a batch's histogram over that of independent samples."""
        shard = math.ceil(self.batch / shard_count(self.batch, self.subspace or self.cells.dim))
        return 1 + subspace_excess(self.subspace, shard, self.cells.num)

    def _histogram(self, heights: Tensor, stream: str, step: int, values: bool = False) -> Histogram:
        key = (self.seed, STREAMS[stream], step)
        return histogram(self.cells, heights, self.batch, key, subspace=self.subspace, values=values)

    def _error(self, found: Histogram) -> float:
        return 0.5 * float((found.counts / found.total - self.cells.masses).abs().sum())

    def _gap(self, state: State) -> Tensor:
        """Mean gap per cell, shrunk towards the closed form, whose scale is set by the mean gap of all samples."""
        scale = state.gap_sum.sum() / (state.gap_count * state.gap_prior).sum()
        return (PRIOR_SAMPLES * scale * state.gap_prior + state.gap_sum) / (PRIOR_SAMPLES + state.gap_count)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
