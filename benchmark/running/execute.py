"""Carries out one run: fit, sample shard by shard, measure, store."""

import math
import traceback
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.records import environment
from benchmark.records.store import SCHEMA, Record, Store, canonical, key_of
from benchmark.running.measuring import measure_run
from benchmark.running.plan import Run
from samplers.base import CountingDenoiser, Denoiser, FittedSampler, FittedStudent
from samplers.noise import ShardNoise

PICTURED_POINTS, PICTURED_IMAGES, PICTURED_PATHS = 1000, 36, 64


class Executor:
    """Carries out runs, keeping what seeds share (fits).

    Attributes:
        store: where records go.
        batch: samples that the network sees at once; None for a whole shard.
    """

    def __init__(self, store: Store, batch: int | None = None, progress: bool = False) -> None:
        self.store, self.batch, self.progress = store, batch, progress
        self._fit: tuple[str, FittedSampler, float] | None = None

    def execute(self, run: Run, anew: bool = False) -> Record:
        """Carry out a run and store its record; a failure is recorded, not raised. `anew` forgets finished shards."""
        config = run.config()
        if anew:
            self.store.drop_shards(key_of(config))
        record: Record = {
            "schema": SCHEMA,
            "key": key_of(config),
            "config": config,
            "changed": run.changed(),
            "status": "ok",
            "error": None,
            "metrics": {},
            "environment": {
                **environment.describe(str(run.problem.device)),
                "sampler": environment.code(run.entry),
            },
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        try:
            self._carry_out(run, record)
        except Exception as error:  # one failing run must not stop the others
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{'/'.join(last.filename.split('/')[-2:])}:{last.lineno}"
            message = " ".join(str(error).split())
            record |= {"status": "failed", "error": f"{type(error).__name__}: {message} ({where})", "metrics": {}}
        self.store.save(record)
        if record["status"] == "ok":
            self.store.drop_shards(record["key"])
        return record

    def _carry_out(self, run: Run, record: Record) -> None:
        fitted, seconds = self.fitted(run)
        record["fit"] = {"seconds": seconds, "info": dict(fitted.info)}
        samples, nfe, seconds = self.sample(run, fitted, record["key"])
        record["nfe"] = nfe
        record["sampling"] = {"seconds": seconds, "samples_per_second": run.samples / seconds}
        began = perf_counter()
        estimates = measure_run(run.metrics, samples, run.problem, run.seed)
        record["metrics"] = {name: vars(estimate) for name, estimate in estimates.items()}
        record["measuring"] = {"seconds": perf_counter() - began}
        if run.seed == 0 and (pictures := self.pictures(run, fitted, samples)):
            self.store.save_arrays(record["key"], **pictures)

    def fitted(self, run: Run) -> tuple[FittedSampler, float]:
        """The sampler made ready, and the seconds that took; seeds of one sampler and budget share it."""
        config = run.config()
        key = canonical({name: config[name] for name in ("problem", "sampler", "nfe")})
        if self._fit is None or self._fit[0] != key:
            began = perf_counter()
            fitted = run.sampler.fit(run.problem, run.nfe, progress=self.progress)
            seconds = perf_counter() - began
            if isinstance(fitted, FittedStudent):  # which may have been trained before
                seconds = fitted.seconds
            self._fit = key, fitted, seconds
        return self._fit[1:]

    def sample(self, run: Run, fitted: FittedSampler, key: str) -> tuple[Tensor, int, float]:
        """All samples of a run [samples, *shape], the evaluations counted a sample, and the seconds that sampling took.

        Finished shards are kept, each with its seconds, so that an interrupted run counts the time before as well.
        """
        shards, nfe, seconds = [], 0, 0.0
        for index in range(math.ceil(run.samples / run.problem.shard)):
            kept = self.store.shard(key, index)
            if kept is None or "seconds" not in kept:  # none, or by a version that did not time shards
                denoiser = CountingDenoiser(network(run, fitted), run.nfe, self.batch)
                began = perf_counter()
                noise = shard_noise(run, index)
                samples = fitted.sample(denoiser, noise).cpu().numpy()
                if samples.shape != noise.shape:
                    raise ValueError(f"the sampler returned {list(samples.shape)}, not {list(noise.shape)}")
                kept = {
                    "samples": samples,
                    "nfe": np.array(denoiser.nfe),
                    "seconds": np.array(perf_counter() - began),
                }
                if np.isfinite(samples).all():  # else a sampler that is mended finds nothing of the run that failed
                    self.store.save_shard(key, index, **kept)
            shards.append(torch.from_numpy(kept["samples"]))
            nfe, seconds = max(nfe, int(kept["nfe"])), seconds + float(kept["seconds"])
        return torch.cat(shards)[: run.samples].to(run.problem.device), nfe, seconds

    def pictures(self, run: Run, fitted: FittedSampler, samples: Tensor) -> dict[str, np.ndarray]:
        """Arrays for pictures: points and paths on the plane, or some images, if they may be given away."""
        if run.sampler.from_examples and not run.problem.redistributable:
            return {}
        if len(run.problem.shape) == 3:
            pixels = ((samples[:PICTURED_IMAGES] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
            return {"samples": pixels.permute(0, 2, 3, 1).squeeze(-1).cpu().numpy()}
        if run.problem.shape != (2,):
            return {}
        recorder = Recorder(network(run, fitted), PICTURED_PATHS)
        noise = shard_noise(run, 0)
        final = fitted.sample(recorder, noise)[:PICTURED_PATHS]
        return {
            "samples": _half(samples[:PICTURED_POINTS]),
            "reference": _half(run.problem.examples("reference", PICTURED_POINTS)),
            "noise": _half(noise.initial()[:PICTURED_PATHS]),
            "trajectory": _half(torch.stack([*recorder.states, final])),
            "trajectory_sigma": np.array([*recorder.sigmas, 0.0], dtype=np.float32),
        }


def network(run: Run, fitted: FittedSampler) -> Denoiser:
    """What a run evaluates: the problem's denoiser, or the sampler's own in its place."""
    return fitted.denoiser if isinstance(fitted, FittedStudent) else run.problem.denoiser


def shard_noise(run: Run, index: int) -> ShardNoise:
    """The noise of a shard of a run; every shard has the full size, so that it does not depend on `samples`."""
    shape = (run.problem.shard, *run.problem.shape)
    return ShardNoise(run.seed, index, shape, run.problem.dtype, run.problem.device)


class Recorder:
    """A denoiser that remembers where the first samples were at every evaluation."""

    def __init__(self, denoiser: Denoiser, count: int) -> None:
        self.denoiser, self.count = denoiser, count
        self.states: list[Tensor] = []
        self.sigmas: list[float] = []

    @torch.no_grad()
    def __call__(self, x: Tensor, sigma: Any) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
        self.states.append(x[: self.count])
        self.sigmas.append(float(sigma.flatten()[0]))
        return self.denoiser(x, sigma)


def _half(x: Tensor) -> np.ndarray:
    return x.cpu().numpy().astype(np.float16)
