"""Heights whose cells have the prescribed masses: a start, steps of descent, and certificates until one holds.

Minimises the convex energy E(h) = ∫ max_j{⟨x, y_j⟩ + h_j} dμ − Σ ν_j h_j by averaged stochastic gradient descent
(`descent.py`). A start that is good enough, and every average that should be, is certified on fresh samples:

    start (`trial.py`) ─→ burn-in ─→ descent (`descent.py`) ─→ certificate (`looks.py`) ─→ done
      │                                 ↑                         ↑  │
      └── good enough as it is ─────────┼─────────────────────────┘  │
                                        └─ facets (`newton.py`) ←────┘ failed: Newton's matrix, or more samples
"""

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from tqdm import tqdm

from dpmot.progress import progress_bar

from ..certificate import Certificate
from ..problem import SemiDiscreteProblem, fraction, whole
from ..scores.cells import Cells
from ..scores.ranks import synchronize
from ..scores.sampling import subspace_size
from ..solution import Checkpoint, Phase, Solution, State, digest, fingerprint
from .attempts import Attempts
from .descent import Descent
from .looks import Looks
from .trial import Trial

HEIGHTS_VERSION = 1
"""Raised when a change of code changes the heights that `solve` returns; a key of what depends on them holds it."""


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
    stopping: type[Attempts] = Attempts,
) -> Solution:
    """Solve for heights: certified to total variation ≤ `tv` at `confidence`, or the best within `max_samples`.

    tv: target for ½Σ|μ(W_j) − ν_j|, certified on fresh samples. The error probability 1 − confidence is shared by all
        certificates (`Attempts`), so that the statement holds for whichever ends the solve.
    max_samples: for burn-in and descent; by default 50 times what the sampling floor asks for.
    heights: warm start [N], if no closed form is clearly better. recycle: allow subspace recycling (Gaussian sources).
    device: where to compute, the targets' device by default. precision: auto (fp16 on a GPU, else fp32), or a name.
    shard_targets: keep on each rank only its share of the targets' rows; "auto": where a GPU can't hold them all.
    checkpoint: a file that keeps the state; an interrupted solve continues from it, with the same result, and removes
        it at the end. A kill loses the work since the last save: a second, or a step or block that takes longer.
    stopping: the rule by which certificates are asked for and judged.

    In an initialised process group (`torchrun`) all ranks share the samples, or each sample goes past the targets of
    all ranks if those are sharded; all get the same solution, whatever their number (sharded: up to rounding; of "auto"
    that holds where targets that are not sharded would not be reduced, see `Cells`).
    ValueError for bad input; MemoryError where a GPU's memory is too small.
    """
    tv, confidence, seed = fraction(tv, "tv"), fraction(confidence, "confidence"), whole(seed, "seed")
    begun = time.perf_counter()
    cells = Cells.of(problem, device, precision, shard_targets)
    synchronize(cells.device)
    prepared = time.perf_counter() - begun
    solver = Solver.of(
        cells,
        stopping(tv, confidence, cells.masses),
        seed=seed,
        subspace=subspace_size(cells) if recycle else 0,
        max_samples=max_samples,
        progress=progress,
    )
    keep = Checkpoint(Path(checkpoint), solver.identity(heights)) if checkpoint is not None else None
    return solver.solve(heights, keep, prepared)


@dataclass(frozen=True, eq=False)
class Solver:
    """The phases of a solve, each of which takes the state one step on and returns the phase that comes next."""

    cells: Cells
    attempts: Attempts
    trial: Trial
    descent: Descent
    looks: Looks
    limit: int
    progress: bool

    @classmethod
    def of(
        cls,
        cells: Cells,
        attempts: Attempts,
        *,
        seed: int,
        subspace: int,
        max_samples: int | None = None,
        progress: bool = False,
    ) -> "Solver":
        """Make a solver of its parts; see `solve`."""
        descent = Descent(cells, seed, subspace, attempts.chi2)
        return cls(
            cells=cells,
            attempts=attempts,
            trial=Trial(cells, descent),
            descent=descent,
            looks=Looks(cells, attempts, seed),
            limit=50 * descent.planned if max_samples is None else whole(max_samples, "max_samples", 1),
            progress=progress,
        )

    def identity(self, heights: Tensor | None) -> dict[str, Any]:
        """What a checkpoint must agree in with this solve from `heights` [N]."""
        return {
            "problem": self.problem,
            "seed": self.looks.seed,
            "subspace": self.descent.subspace,
            "precision": self.cells.precision,
            "tv": self.attempts.tv,
            "confidence": self.attempts.confidence,
            "stopping": type(self.attempts).__qualname__,
            "heights": heights if heights is None else digest(self.cells.inner(heights)),
        }

    @cached_property
    def problem(self) -> str:
        """Fingerprint of the problem."""
        return fingerprint(self.cells.problem, self.cells.keys)

    def solve(self, heights: Tensor | None, keep: Checkpoint | None, prepared: float) -> Solution:
        """Go on from a checkpoint, else begin; `prepared` are the seconds that took what came before."""
        state = (keep and keep.load(self.cells.device)) or self.trial.begin(heights)
        state.took("prepare", prepared)
        solution = self.run(state, keep)
        if keep:
            keep.path.unlink(missing_ok=True)
        return solution

    def run(self, state: State, keep: Checkpoint | None = None) -> Solution:
        """Go from phase to phase until one is the last, and keep the state."""
        phases = {
            "start": self.trial.look,
            "burn-in": self.descent.burn_in,
            "descent": self.descend,
            "certificate": self.certify,
            "facets": self.descent.couple,
        }
        rank = dist.get_rank() if dist.is_initialized() else 0
        hidden = not self.progress or rank > 0
        with progress_bar(initial=state.samples, unit="sample", unit_scale=True, disable=hidden) as bar:
            while state.phase != "done":
                self._show(state, bar)
                begun, phase = time.perf_counter(), state.phase
                state.phase = phases[phase](state)
                if state.phase != phase:
                    synchronize(self.cells.device)
                state.took(phase, time.perf_counter() - begun)
                if keep and rank == 0:
                    keep.save(state)
        return self._solution(state)

    def descend(self, state: State) -> Phase:
        """Take a step of the descent, until it is time for a certificate."""
        self.descent.step(state)
        return "certificate" if state.descent >= state.goal or state.samples >= self.limit else "descent"

    def certify(self, state: State) -> Phase:
        """Draw a part of a look; after its last, stop, look again where it failed narrowly, or go on."""
        if not self.looks.draw(state):
            return "certificate"
        certificate = self.looks.record(state)
        if self.attempts.reached(certificate):
            return "done"
        if state.looks == 1 and self.attempts.narrow(certificate, state.attempt):
            return "certificate"
        if state.samples >= self.limit:
            return "done"
        self.looks.clear(state)
        if state.step == 0:  # the start was not good enough
            return "burn-in"
        return self.descent.plan(state, certificate)

    def _show(self, state: State, bar: "tqdm[None]") -> None:
        """Show the phase, the samples, and the last certificate."""
        bar.set_description(state.phase + self.looks.progress(state), refresh=False)
        bar.total = min(state.samples - state.descent + state.goal, self.limit)  # to the next certificate
        if state.history:
            bar.set_postfix_str(f"TV ≤ {state.history[-1]['tv_bound']:.3g}", refresh=False)
        bar.update(state.samples - bar.n)

    def _solution(self, state: State) -> Solution:
        assert state.certificate is not None
        certificate = Certificate.from_dict(state.certificate)
        return Solution(
            heights=self.cells.outer(state.average).cpu(),
            certificate=certificate,
            converged=self.attempts.reached(certificate),
            tv=self.attempts.tv,
            confidence=self.attempts.confidence,
            samples=state.samples,
            certificate_samples=state.certificate_samples,
            seconds=state.seconds,
            phase_samples=state.phase_samples,
            history=state.history,
            seed=self.looks.seed,
            problem=self.problem,
        )
