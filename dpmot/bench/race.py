"""The race: every solver on the same targets and source, judged by the same certificate from outside."""

import hashlib
import math
import time
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from .. import SemiDiscreteProblem, certify, solve
from ..machine import tf32
from .peers import PEERS, batches
from .watch import CONFIDENCE, JUDGE, Finished, Watch, needed, settle

LEVELS = (0.10, 0.05, 0.02, 0.01)
ENDED = "its schedule ended"
WARM = 0.5  # seconds of a run before that which counts, at most: first calls load libraries and choose kernels


def ours(
    targets: Tensor, levels: tuple[float, ...] = LEVELS, seed: int = 0, seconds: float = math.inf, **options: Any
) -> Iterator[dict[str, Any]]:
    """A record for each level of `solve`, its own certificates included in the time; then judged, by `needed` samples.

    seconds: for all levels together, kept by limiting a level's samples at the rate of the one before.
    """
    problem, left, rate = SemiDiscreteProblem(targets), seconds, math.inf
    for level in sorted(levels, reverse=True):
        settle(targets)
        begun = time.monotonic()
        limit = max(int(rate * left), 1) if math.isfinite(rate * left) else None
        solution = solve(problem, tv=level, seed=seed, max_samples=limit, **options)
        settle(targets)
        spent = time.monotonic() - begun
        left = max(left - spent, 0.0)
        rate = solution.samples / spent if solution.samples else rate
        judged = certify(problem, solution.heights, max(needed(level, problem), 20_000), JUDGE, CONFIDENCE)
        yield {
            "solver": "dpmot", "setting": "default", "level": level, "seconds": spent,
            "samples": solution.samples, "max_samples": limit, "converged": solution.converged,
            "certificate": solution.certificate.to_dict(), "phases": solution.seconds,
            "heights_sha256": hashlib.sha256(solution.heights.numpy().tobytes()).hexdigest(),
            "judge": judged.to_dict(), "history": solution.history, "summary": str(solution),
        }  # fmt: skip


def warm_up(targets: Tensor, levels: tuple[float, ...], **options: Any) -> None:
    """Every phase once, at another seed: first launches compile kernels, which is nobody's time.

    One step of descent towards the lowest level, unless the start does for that, and then for all.
    """
    solve(SemiDiscreteProblem(targets), tv=min(levels), seed=1, max_samples=1, **options)


def settings(names: list[str] | None) -> list[tuple[str, str]]:
    """(peer, setting) of all peers, or of those named, as "PEER" or "PEER: SETTING". ValueError for an unknown one."""
    chosen = []
    for name in names or PEERS:
        peer, _, setting = name.partition(": ")
        if peer not in PEERS:
            raise ValueError(f"unknown peer {peer!r}; there are {', '.join(map(repr, PEERS))}")
        grid = PEERS[peer][1]
        if setting and setting not in grid:
            raise ValueError(f"{peer} has no setting {setting!r}; there are {', '.join(map(repr, grid))}")
        chosen += [(peer, each) for each in grid if not setting or each == setting]
    return chosen


def peer(
    targets: Tensor, name: str, setting: str, budget: float, levels: tuple[float, ...], deadline: float = math.inf,
    seed: int = 0,
) -> dict[str, Any]:  # fmt: skip
    """One peer's run at one setting: its curve (seconds, samples, certificate), and why it ended early if it did."""
    problem, grid = SemiDiscreteProblem(targets - targets.mean(dim=0)), PEERS[name][1]
    _run(name, setting, Watch(problem, WARM, (1.0,), deadline), seed)
    watch = Watch(problem, budget, levels, deadline)
    error = _run(name, setting, watch, seed)
    return {
        "solver": name, "setting": setting, "options": grid[setting], "batch": batches(grid[setting], len(targets)),
        "curve": watch.curve, "budget": budget,
        "seconds": watch.spent, "error": error,
    }  # fmt: skip


def _run(name: str, setting: str, watch: Watch, seed: int) -> str | None:
    """Run a peer until the watch ends it; else why it ended by itself."""
    solver, grid = PEERS[name]
    try:
        with tf32():
            solver(watch.problem.targets, seed, grid[setting], watch)
    except Finished:
        return None
    except ImportError as failure:
        return f"not installed: {failure}"
    except Exception as failure:  # one peer's failure is a result, not the end of the race
        return f"{type(failure).__name__}: {str(failure).splitlines()[0] if str(failure) else ''}"[:200]
    return ENDED


def reached(curve: list[dict[str, Any]], level: float) -> tuple[float, int] | None:
    """Seconds and samples at the first checkpoint certified to `level`."""
    for point in curve:
        if point["judge"]["tv_bound"] <= level:
            return point["seconds"], point["samples"]
    return None
