"""Drawing the samples of a run: fit once, then shard by shard; and what pictures show of them."""

import math
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.data.pixels import to_pixels
from benchmark.records.store import Store
from benchmark.running.plan import Run
from samplers.base import Denoiser, FittedSampler
from samplers.denoisers import CountingDenoiser
from samplers.noise import ShardNoise

PICTURED_POINTS, PICTURED_IMAGES, PICTURED_PATHS = 1000, 36, 64


@dataclass(frozen=True)
class Fit:
    """A sampler made ready, and the seconds that took, now or when it was remembered."""

    sampler: FittedSampler
    seconds: float


@dataclass(frozen=True)
class Drawn:
    """All samples of a run [samples, *shape], the evaluations counted a sample, and the seconds that sampling took."""

    samples: Tensor
    nfe: int
    seconds: float


def fit(run: Run, progress: bool = False) -> Fit:
    """Make the sampler of a run ready."""
    began = perf_counter()
    fitted = run.sampler.fit(run.problem, run.nfe, progress=progress)
    seconds = perf_counter() - began
    return Fit(fitted, seconds if fitted.seconds is None else fitted.seconds)


def draw(run: Run, fitted: FittedSampler, store: Store, batch: int | None = None) -> Drawn:
    """Draw the samples of a run.

    Finished shards are kept in the store, each with its seconds, so that an interrupted run goes on from them and
    counts the time before as well.

    Args:
        batch: samples that the network sees at once; None for a whole shard.
    """
    shards, nfe, seconds = [], 0, 0.0
    for index in range(math.ceil(run.samples / run.problem.shard)):
        shard = store.shard(run.key, index)
        if shard is None or "seconds" not in shard:  # none, or by a version that did not time shards
            shard = _draw_shard(run, fitted, index, batch)
            if np.isfinite(shard["samples"]).all():  # else a sampler that is mended would find them
                store.save_shard(run.key, index, **shard)
        shards.append(torch.from_numpy(shard["samples"]))
        nfe, seconds = max(nfe, int(shard["nfe"])), seconds + float(shard["seconds"])
    return Drawn(torch.cat(shards)[: run.samples].to(run.problem.device), nfe, seconds)


def _draw_shard(run: Run, fitted: FittedSampler, index: int, batch: int | None) -> dict[str, np.ndarray]:
    """Samples [shard, *shape], evaluations a sample, and seconds of one shard.

    Raises:
        ValueError: the sampler returned another number or shape.
    """
    denoiser = CountingDenoiser(network(run, fitted), run.nfe, batch)
    began = perf_counter()
    noise = shard_noise(run, index)
    samples = fitted.sample(denoiser, noise).cpu().numpy()
    if samples.shape != noise.shape:
        raise ValueError(f"the sampler returned {list(samples.shape)}, not {list(noise.shape)}")
    return {"samples": samples, "nfe": np.array(denoiser.nfe), "seconds": np.array(perf_counter() - began)}


def network(run: Run, fitted: FittedSampler) -> Denoiser:
    """What a run evaluates: the problem's denoiser, or the sampler's own in its place."""
    return run.problem.denoiser if fitted.denoiser is None else fitted.denoiser


def shard_noise(run: Run, index: int) -> ShardNoise:
    """The noise of a shard of a run; every shard has the full size, so that it does not depend on `samples`."""
    shape = (run.problem.shard, *run.problem.shape)
    return ShardNoise(run.seed, index, shape, run.problem.dtype, run.problem.device)


def pictures(run: Run, fitted: FittedSampler, samples: Tensor) -> dict[str, np.ndarray]:
    """Arrays for pictures: points and paths on the plane, or some images, if they may be given away."""
    if run.sampler.from_examples and not run.problem.redistributable:
        return {}
    if len(run.problem.shape) == 3:
        return {"samples": to_pixels(samples[:PICTURED_IMAGES]).permute(0, 2, 3, 1).squeeze(-1).cpu().numpy()}
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
