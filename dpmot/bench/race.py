"""The race: every solver on the same targets and source, judged by the same certificate from outside."""

import time
from typing import Any

import torch
from torch import Tensor

from .. import SemiDiscreteProblem, certify, solve
from .peers import PEERS

LEVELS = (0.10, 0.05, 0.02, 0.01)
JUDGE = 10**6  # seeds of the judge's certificates: no solver's


def ours(targets: Tensor, levels: tuple[float, ...] = LEVELS, seed: int = 0, **options: Any) -> list[dict[str, Any]]:
    """`solve` to each level, its own certificates included in the time; then the judge's."""
    problem, records = SemiDiscreteProblem(targets), []
    for level in levels:
        _wait(targets)
        begun = time.perf_counter()
        solution = solve(problem, tv=level, seed=seed, **options)
        _wait(targets)
        seconds = time.perf_counter() - begun
        judged = certify(problem, solution.heights, max(min(100 * len(targets), 5_000_000), 20_000), seed=JUDGE)
        print(f"  dpmot, TV ≤ {level:g}: {seconds:.2f} s, {solution}", flush=True)
        records.append(
            {
                "solver": "dpmot", "setting": "default", "level": level, "seconds": seconds,
                "samples": solution.samples, "converged": solution.converged,
                "certificate": solution.certificate.to_dict(), "phases": solution.seconds,
                "judge": judged.to_dict(), "history": solution.history,
            }
        )  # fmt: skip
    return records


def peers(
    targets: Tensor, budget: float, names: list[str] | None = None, seed: int = 0, until: float = 0.01
) -> list[dict[str, Any]]:
    """Every peer and setting for `budget` seconds of its own work (and the checkpoint in hand), or to `until`."""
    targets = targets - targets.mean(dim=0)
    problem = SemiDiscreteProblem(targets)
    records = []
    for name, (peer, settings) in PEERS.items():
        if names is not None and name not in names:
            continue
        for setting, options in settings.items():
            curve: list[dict[str, Any]] = []
            spent, error = 0.0, None
            try:
                run = peer(targets, seed, dict(options))
                while spent < budget:
                    _wait(targets)
                    begun = time.perf_counter()
                    heights, samples = next(run)
                    _wait(targets)
                    if samples == 0:  # compiled and warm: the clock starts here
                        continue
                    spent = time.perf_counter() - begun + (0.0 if name == "POT" else spent)
                    judged = certify(problem, heights, max(30 * len(targets), 20_000), seed=JUDGE + len(curve))
                    curve.append({"seconds": spent, "samples": samples, "judge": judged.to_dict()})
                    if judged.tv_bound <= until:
                        break
            except Exception as failure:  # one peer's failure is a result, not the end of the race
                error = f"{type(failure).__name__}: {str(failure).splitlines()[0] if str(failure) else ''}"[:200]
            last = min((point["judge"]["tv_bound"] for point in curve), default=float("nan"))
            print(f"  {name}, {setting}: TV ≤ {last:.3f} after {spent:.1f} s {error or ''}", flush=True)
            records.append({"solver": name, "setting": setting, "options": options, "curve": curve, "error": error})
    return records


def reached(curve: list[dict[str, Any]], level: float) -> tuple[float, int] | None:
    """Seconds and samples at the first checkpoint certified to `level`."""
    for point in curve:
        if point["judge"]["tv_bound"] <= level:
            return point["seconds"], point["samples"]
    return None


def _wait(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize()
