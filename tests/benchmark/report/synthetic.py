"""Records with a known truth: what the report must find in them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.records.record import Record
from benchmark.records.store import Store, key_of
from benchmark.report.arranging import arrange
from benchmark.report.verdict.claim import Finding
from benchmark.report.verdict.judging import judge

SEEDS = (0, 1, 2, 3, 4)
PLAIN = ("ddpm", "ddim", "dpm-solver++-2m", "unipc", "heun")
LAMBDAS = (0.1, 0.16, 0.2, 0.3, 0.4)

Truth = Mapping[str, float]


def record(
    problem: str,
    sampler: str,
    nfe: int,
    seed: int,
    values: Truth,
    changed: Mapping[str, Any] | None = None,
    samples: int = 1000,
    info: Mapping[str, Any] | None = None,
    version: int = 1,
    fingerprint: Mapping[str, str] | None = None,
    metric_version: str = "1",
    **more: Any,
) -> dict[str, Any]:
    """One finished run."""
    changed = dict(changed or {})
    variant = {"modes": 25} if problem == "mixture2d" else {}
    options = {"grid": "log-snr", **({"map": "hard"} if sampler == "dpmot" else {}), **changed}
    config = {
        "problem": {"name": problem, "options": variant, "fingerprint": dict(fingerprint or {})},
        "sampler": {"name": sampler, "options": options, "version": version},
        "nfe": nfe,
        "seed": seed,
        "samples": samples,
        "shard": 500,
        "metrics": dict.fromkeys(values, metric_version),
    }
    done = {
        "schema": 1,
        "key": key_of(config),
        "config": config,
        "changed": changed,
        "status": "ok",
        "error": None,
        "nfe": 0 if sampler in ("held-out", "copy-target") else nfe - (sampler == "heun" and nfe % 2 == 0),
        "fit": {"seconds": 0.5, "info": dict(info or {})},
        "sampling": {"seconds": 0.1 * max(nfe, 1), "samples_per_second": 1e4 / max(nfe, 1)},
        "metrics": {
            n: {"value": v, "low": v * 0.9, "high": v * 1.1, "count": samples, "note": ""} for n, v in values.items()
        },
        "measuring": {"seconds": 0.1},
        "environment": {"python": "3.12", "cpu": "a <b>CPU</b>", "device": "cpu", "commit": "0123abcd", "dirty": False},
        "created": f"2026-01-01T00:00:{seed:02d}Z",
    }
    return done | more


def measured(
    rng: np.random.Generator, quality: tuple[str, float], mixture: float, copies: float, noise: float = 0.02
) -> dict[str, float]:
    """Values around a truth, with relative noise between seeds."""

    def around(value: float) -> float:
        return float(value * (1 + noise * rng.standard_normal()))

    name, value = quality
    out = {name: around(value)} | ({"sliced_w2": around(value / 2)} if name == "w2" else {})
    out |= {f"mmr@{lam:g}": min(1.0, around(mixture * 0.2 / lam)) for lam in LAMBDAS}
    return out | {
        "modes_covered": 1.0,
        "mode_weights_tv": around(0.05),
        "copy_share": min(1.0, around(copies)),
        "nn_ratio": around(0.9 - 0.5 * copies),
        "distinct_neighbours": around(0.8),
    }


HISTORY = [{"samples": 2000 * 4**k, "seconds": 0.1 * 4**k, "tv": 0.4 / 2**k, "tv_bound": 0.5 / 2**k} for k in range(6)]
SOLVED = {
    "targets": 2000,
    "converged": True,
    "history": HISTORY,
    "certificate": {"chi2": 0.001, "tv": 0.0125, "tv_bound": 0.0156, "empty_cells": 0},
}


def quick(
    problem: str,
    quality: str,
    ours: float = 1.0,
    random: float = 1.0,
    plain: float = 2.0,
    mixture: float = 0.01,
    plain_mixture: float = 0.1,
    real_mixture: float = 0.01,
    copies: float = 0.6,
    seeds: Iterable[int] = SEEDS,
    noise: float = 0.02,
) -> list[dict[str, Any]]:
    """Runs as of the quick suite. `ours`, `random`, `plain`: quality at 10 evaluations (the best plain at 20 has 1)."""
    rng = np.random.default_rng(0)

    def make(value: float, mixed: float, copied: float) -> dict[str, float]:
        return measured(rng, (quality, value), mixed, copied, noise)

    made = []
    for seed in seeds:
        for nfe in (5, 10, 20):
            for i, name in enumerate(PLAIN):
                value = (plain if nfe < 20 else 1.0) * (1 + 0.1 * i) * (10 / nfe if nfe < 10 else 1)
                made.append(record(problem, name, nfe, seed, make(value, plain_mixture, 0.01), {"grid": "edm"}))
            arms = {"dpmot": ours, "random-latent": random, "unsolved-map": 2 * random}
            for name, value in arms.items():
                info = {"sigma_m": 0.05} | (SOLVED if name == "dpmot" else {})
                made.append(record(problem, name, nfe, seed, make(value, mixture, copies), info=info))
        for level in (0.3, 1.0, 3.0):
            for name, value in (("dpmot", ours), ("random-latent", random)):
                info = {"sigma_m": level} | (SOLVED if name == "dpmot" else {})
                values = make(value * (1 + level), mixture * (1 + level), copies / (1 + level))
                made.append(record(problem, name, 10, seed, values, {"sigma_m": level}, info=info))
        made.append(record(problem, "copy-target", 0, seed, make(0.9, real_mixture, 1.0)))
        made.append(record(problem, "held-out", 0, seed, make(0.8, real_mixture, 0.01)))
    return made


def write(root: Path, records: Iterable[Mapping[str, Any]], pictures: bool = False) -> Path:
    """Store records, with samples and paths for pictures where asked; the results folder."""
    store = Store(root)
    rng = np.random.default_rng(0)
    for entry in records:
        store.save(Record.from_json(entry))
        if pictures and entry["config"]["seed"] == 0 and entry["status"] == "ok":
            store.save_arrays(entry["key"], **_pictures(rng, entry))
    return root


def _pictures(rng: np.random.Generator, entry: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if entry["config"]["problem"]["name"] != "mixture2d":
        return {"samples": rng.integers(0, 255, (64, 8, 8), dtype=np.uint8)}
    modes = np.stack(np.meshgrid(np.arange(-2, 3), np.arange(-2, 3)), -1).reshape(-1, 2)

    def draw(count: int) -> np.ndarray:
        return modes[rng.integers(0, 25, count)] + 0.1 * rng.standard_normal((count, 2))

    noise, end, nfe = rng.standard_normal((64, 2)), draw(64), max(entry["nfe"], 1)
    top = 0.3 if entry["config"]["sampler"]["name"] == "dpmot" else 10.0
    sigma = np.append(np.geomspace(top, 0.01, nfe), 0.0)
    path = end + sigma[:, None, None] * noise
    arrays = {"samples": draw(1000), "reference": draw(1000), "noise": noise, "trajectory": path}
    return {name: a.astype(np.float16) for name, a in arrays.items()} | {"trajectory_sigma": sigma.astype(np.float32)}


def judged(records: list[dict[str, Any]]) -> dict[str, Finding]:
    """What these records say of each claim."""
    return {v.claim.name: v.finding for v in judge(arrange(records, Path("nowhere")))}


def both(**truth: Any) -> list[dict[str, Any]]:
    return quick("mixture2d", "w2", **truth) + quick("digits", "fd", **truth)
