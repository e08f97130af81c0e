"""Looks at the heights on fresh samples: drawn block by block, then summed up in a certificate."""

from dataclasses import dataclass

from ..certificate import Certificate, from_counts
from ..scores.cells import STREAMS, Cells
from ..scores.sampling import histogram, shard_count, sharing
from ..solution import State
from .attempts import Attempts

BLOCK = {"cpu": 1, "cuda": 64}  # shards of a look that each rank draws between two saves


@dataclass(frozen=True, eq=False)
class Looks:
    """Draws the looks of `attempts`. The samples of an attempt's second look are added to those of its first."""

    cells: Cells
    attempts: Attempts
    seed: int

    def draw(self, state: State) -> bool:
        """Draw a block of a look; whether that was its last."""
        again = state.looks > 0
        state.attempt += not again and state.shard == 0
        samples = self.attempts.samples(state.attempt)
        heights = self.cells.inner(self.cells.outer(state.average))  # as they will be returned, in float32
        key = (self.seed, STREAMS["certificate"], state.attempt, int(again))
        block = BLOCK.get(self.cells.device.type, 1) * sharing(self.cells)[1]
        part = slice(state.shard, state.shard + block)
        state.hits += histogram(self.cells, heights.float(), samples, key, part=part).counts
        state.shard = part.stop
        return state.shard >= shard_count(samples, self.cells.dim)

    def record(self, state: State) -> Certificate:
        """What all looks of the attempt say, kept in the state's history."""
        samples = self.attempts.samples(state.attempt)
        error = self.attempts.error(state.attempt, again=state.looks > 0)
        certificate = from_counts(state.hits, self.cells.masses, error, self.cells.first)
        state.shard, state.looks, state.certificate = 0, state.looks + 1, certificate.to_dict()
        state.drew("certificate", samples)
        seconds = sum(spent for phase, spent in state.seconds.items() if phase != "certificate")
        reached = {"samples": state.samples, "seconds": seconds}
        state.history.append({**certificate.to_dict(), "certificate_samples": samples, **reached})
        return certificate

    def clear(self, state: State) -> None:
        """Forget an attempt that failed."""
        state.hits.zero_()
        state.looks = 0

    def progress(self, state: State) -> str:
        """How much of a look has been drawn, for a progress bar."""
        if state.shard == 0:
            return ""
        return f" {state.shard / shard_count(self.attempts.samples(state.attempt), self.cells.dim):.0%}"
