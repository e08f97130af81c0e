"""The start of a solve: which heights, and whether they will do as they are."""

import math
import time
from dataclasses import dataclass

from torch import Tensor

from ..certificate import product_chi2
from ..scores.cells import Cells
from ..solution import Phase, State
from .descent import Descent
from .starts import on_a_line, starts

GOOD = 0.6  # of the χ² asked for: a start is certified as it is where it has no more ...
SURE = 0.25  # ... by an estimate with a standard error of this part of it
WORSE = 1.5  # times the error of a closed form: a warm start is given up that is worse than this


@dataclass(frozen=True, eq=False)
class Trial:
    """Chooses the start of a `descent`, and tries it."""

    cells: Cells
    descent: Descent

    def begin(self, heights: Tensor | None) -> State:
        """Begin at the solution where it is known; else at the best of closed forms and a warm start `heights` [N]."""
        begun = time.perf_counter()
        known = on_a_line(self.cells)
        warm = [] if heights is None else [self.cells.inner(heights)]
        candidates = [*warm, *starts(self.cells)] if known is None else [known]
        judged = len(candidates) > 1
        errors = self._errors(candidates, warm=bool(warm)) if judged else [0.0]
        best = errors.index(min(errors))
        state = State.of(candidates[best], self.descent.closed_form_gap(), self.descent.planned)
        state.drew("start", len(candidates) * self.descent.batch if judged else 0)
        trusted = known is not None or (warm and best == 0) or self.cells.num == 1
        state.phase = "certificate" if trusted else "start"
        state.took("start", time.perf_counter() - begun)
        return state

    def _errors(self, candidates: list[Tensor], warm: bool) -> list[float]:
        """Total variation of each on a batch; that of a warm start, which comes first, is made light of."""
        errors = [self.descent.variation(self.descent.histogram(one, "start", 0)) for one in candidates]
        return [errors[0] / WORSE, *errors[1:]] if warm else errors

    def look(self, state: State) -> Phase:
        """Certify the start as it is? Closed forms may do for targets nearly alike in length in high dimension.

        By two histograms of S samples that grow until the standard error of χ² is small, or χ² clearly too large.
        """
        for sums in (state.hits, state.twin):
            state.step += 1
            sums += self.descent.histogram(state.heights, "start", state.step).counts
        state.drew("start", 2 * self.descent.batch)
        chi2, error = self._estimate(state)
        good = GOOD * self.descent.chi2
        if error > SURE * self.descent.chi2 and chi2 - 3 * error <= good:  # a look at every step errs often at 2
            return "start"
        state.step = 0
        state.hits.zero_()
        state.twin.zero_()
        return "certificate" if chi2 <= good else "burn-in"

    def _estimate(self, state: State) -> tuple[float, float]:
        """χ² and its standard error: √(nE²/S² + 2χ²E/S), where variances are E times those of independent samples."""
        chi2 = product_chi2(state.hits, state.twin, self.cells.masses)
        each = self.descent.excess / float(state.hits.sum())
        return chi2, math.sqrt(self.cells.num * each**2 + 2 * max(chi2, 0.0) * each)
