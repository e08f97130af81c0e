"""Heights whose cells have the prescribed masses: a start, steps of descent, and certificates until one holds.

Minimises the convex energy E(h) = ∫ max_j{⟨x, y_j⟩ + h_j} dμ − Σ ν_j h_j by averaged stochastic gradient descent
(`descent.py`). A start that is good enough, and every average that should be, is certified on fresh samples.
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

from ..certificate import Certificate, from_counts, product_chi2
from ..problem import SemiDiscreteProblem, fraction, whole
from ..scores.cells import STREAMS, Cells
from ..scores.ranks import synchronize
from ..scores.sampling import histogram, shard_count, sharing, subspace_size
from ..solution import Checkpoint, Solution, State, digest, fingerprint
from . import newton
from .attempts import Attempts
from .descent import Descent
from .starts import on_a_line, starts

SLOW = 3.0  # Newton's matrix is called for when χ² lies so many times above the sampling floor
GOOD = 0.6  # of the χ² asked for: a start is certified as it is where it has no more ...
SURE = 0.25  # ... by an estimate with a standard error of this part of it
WORSE = 1.5  # times the error of a closed form: a warm start is given up that is worse than this
BLOCK = {"cpu": 1, "cuda": 64}  # shards of a certificate that each rank draws between two saves


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

    A closed form that is good enough is certified as it is; else a descent begins from it.

    tv: target for ½Σ|μ(W_j) − ν_j|. The certificate is computed on fresh samples; when one falls narrowly short, as
        many again are added to it, else the solve goes on and tries again. The error probability 1 − confidence is
        spent over all attempts (nine tenths of what is left on each, and of that nine tenths before the addition), so
        that the statement holds for whichever attempt ends the solve.
    max_samples: for burn-in and descent; by default 50 times what the sampling floor asks for.
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
    synchronize(cells.device)
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

    @cached_property
    def attempts(self) -> Attempts:
        return Attempts(self.tv, self.confidence, self.cells.masses)

    @cached_property
    def descent(self) -> Descent:
        return Descent(self.cells, self.seed, self.subspace, self.attempts.chi2)

    @cached_property
    def problem(self) -> str:
        return fingerprint(self.cells.problem, self.cells.keys)

    @property
    def limit(self) -> int:
        return self.max_samples or 50 * self.descent.planned

    def start(self, heights: Tensor | None) -> State:
        """The solution where it is known; else of warm start and closed forms that with the least error on a batch."""
        begun = time.perf_counter()
        cells = self.cells
        warm, known = [] if heights is None else [cells.inner(heights)], on_a_line(cells)
        candidates = [*warm, *starts(cells)] if known is None else [known]
        judged = candidates if len(candidates) > 1 else []
        errors = [self.descent.variation(self.descent.histogram(h, "start", 0)) for h in judged]
        if errors and warm:
            errors[0] /= WORSE
        best = errors.index(min(errors)) if errors else 0
        start = candidates[best]
        gap = self.descent.closed_form_gap()
        zero = torch.zeros_like(gap)
        none = gap.new_zeros(0, 0)
        count = zero.long()
        zeros = (zero, zero.clone(), zero.clone(), count, count.clone())
        state = State(start, start.clone(), gap, *zeros, none, none, none)
        state.goal = self.descent.planned
        state.drew("start", len(errors) * self.descent.batch)
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
                    self.descent.burn_in_step(state)
                elif phase == "descent":
                    self.descent.step(state)
                    if state.descent >= state.goal or state.samples >= self.limit:
                        state.phase = "certificate"
                else:
                    certificate = self._certify(state)
                    if state.history:
                        bar.set_postfix_str(f"TV ≤ {state.history[-1]['tv_bound']:.3g}")
                if certificate is not None or phase != state.phase:
                    synchronize(self.cells.device)
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

        By two histograms of S samples that grow until the standard error of χ² is small, or χ² clearly too large. With
        variances E times those of independent samples it is √(nE²/S² + 2χ²E/S).
        """
        for sums in (state.hits, state.twin):
            state.step += 1
            sums += self.descent.histogram(state.heights, "start", state.step).counts
        state.drew("start", 2 * self.descent.batch)
        good, chi2 = GOOD * self.attempts.chi2, product_chi2(state.hits, state.twin, self.cells.masses)
        each = self.descent.excess / float(state.hits.sum())
        error = math.sqrt(self.cells.num * each**2 + 2 * max(chi2, 0.0) * each)
        if error <= SURE * self.attempts.chi2 or chi2 - 3 * error > good:  # a look at every step errs often at 2
            state.phase, state.step = "certificate" if chi2 <= good else "burn-in", 0
            state.hits.zero_()
            state.twin.zero_()

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
        if state.step == 0:  # the start was not good enough
            state.phase = "burn-in"
            return None
        state.phase = "descent"
        slow = certificate.chi2 > SLOW * self.descent.floor(state.descent)
        if slow and not self.subspace and self.cells.num <= newton.CELLS:
            self.descent.couple(state)
            state.goal = int(1.4 * state.descent) or self.descent.planned
        else:
            wanted = certificate.chi2 / self.descent.goal
            state.goal = int(state.descent * min(max(wanted, 1.4), 8.0))
        return None

    def _drawn(self, state: State) -> str:
        """How much of a certificate's look has been drawn, for the progress bar."""
        if state.shard == 0:
            return ""
        return f" {state.shard / shard_count(self.attempts.samples(state.attempt), self.cells.dim):.0%}"
