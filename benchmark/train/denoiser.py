"""A denoiser's training from the first step to the last: log, evaluations, checkpoints, resuming."""

import json
import math
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from benchmark.networks.checkpoint import load_tensors, read_checkpoint, save_network
from benchmark.networks.unet import Denoiser
from benchmark.train.evaluate import denoising_loss, draw_samples, save_grid
from benchmark.train.images import Split, as_float, load_split
from benchmark.train.recipes import DenoiserRecipe
from benchmark.train.stepping import DenoiserTraining
from benchmark.workers import Workers

Measure = Callable[[Denoiser], dict[str, Any]]
"""Figures of a denoiser, for the log."""


@dataclass(frozen=True)
class Outputs:
    """What a training run writes, and how often (in images).

    Attributes:
        checkpoint: the averaged weights, at every evaluation.
        work: folder of the log (``log.jsonl``), sample grids and the state to resume from (``state.pt``).
        every: images between two evaluations, each of which also saves the state.
        command: stated in the checkpoint.
    """

    checkpoint: Path
    work: Path
    every: int
    command: str


def evaluate(training: DenoiserTraining, train: Split, test: Split, measure: Measure | None) -> dict[str, Any]:
    """Denoising losses of the averaged weights on both splits (as many images of each), and ``measure``'s figures."""
    recipe = training.recipe
    count = min(len(train.images), len(test.images))
    losses: dict[str, Any] = {
        f"{name}_loss": denoising_loss(training.average, as_float(split.images[:count]), recipe.p_mean, recipe.p_std)
        for name, split in (("train", train), ("test", test))
    }
    return {**losses, **(measure(training.average) if measure else {})}


def train_denoiser(
    problem: str,
    recipe: DenoiserRecipe,
    outputs: Outputs,
    workers: Workers,
    data: str | None = None,
    seed: int = 0,
    resume: bool = False,
    init: Path | None = None,
    measure: Measure | None = None,
) -> dict[str, Any]:
    """Train, evaluate as it goes, and write the averaged weights; returns the last evaluation.

    Args:
        resume: go on from the state in ``outputs.work``.
        init: start from the weights of this checkpoint (with fresh optimisers and a fresh schedule); the images that it
            had seen are stated as ``images_before``.
        measure: further figures of the averaged denoiser, taken at every evaluation.

    Raises:
        ValueError: the state or the checkpoint can't be used (one line).
        DataError: the data are missing.
    """
    train, test = (load_split(problem, split, workers.device, data) for split in ("train", "test"))
    training = DenoiserTraining(recipe, train.images, workers, seed)
    if init is not None:
        tensors, metadata = read_checkpoint(init)
        training.images_before = sum(int(metadata.get(name, 0)) for name in ("images_before", "images_seen"))
        for network in (training.network, training.average.network):
            load_tensors(init, network, tensors)
    if resume:
        restore(training, outputs.work / "state.pt")
    elif (outputs.work / "state.pt").exists():
        raise ValueError(
            f"{outputs.work / 'state.pt'} is of a training: --resume goes on with it; remove it, or give another "
            "--work, to begin anew"
        )
    stated = {"problem": problem, "seed": seed, "images_before": training.images_before}
    records = begin_log(outputs.work, training.seen) if workers.first else []
    total = -(-recipe.images // training.step_images)
    marks = {-(-k // training.step_images) for k in range(outputs.every, recipe.images, outputs.every)} | {total}
    losses: list[Tensor] = []
    started = time.perf_counter()
    silent = not workers.first
    with tqdm(
        total=recipe.images, initial=training.seen, unit="img", unit_scale=True, disable=silent, mininterval=2
    ) as bar:
        while training.step < total:
            losses.append(training.train_step())
            bar.update(training.step_images)
            if training.step not in marks:
                continue
            mean_loss = torch.stack(losses).mean().item()  # waits for the device
            if not math.isfinite(mean_loss):
                raise ValueError(f"the loss is not finite after {training.seen:,} images; the files of before are kept")
            losses.clear()
            training.seconds += time.perf_counter() - started
            rate = training.seen / training.seconds
            record: dict[str, Any] = {"images": training.seen, "images_before": training.images_before}
            record |= {"seconds": round(training.seconds, 1), "images_per_second": round(rate, 1)}
            record |= {"running_loss": mean_loss} | evaluate(training, train, test, measure)
            records.append(record)
            if workers.first:
                try:
                    keep(training, outputs, record, stated)
                except OSError as error:
                    reason = error.strerror or error
                    raise ValueError(
                        f"{outputs.work}: cannot be written ({reason}); --resume goes on from there"
                    ) from None
            workers.wait()
            started = time.perf_counter()
    if workers.first:
        tqdm.write(f"{training.seen:,} images seen; the weights are in {outputs.checkpoint}")
    return records[-1] if records else {}


def begin_log(work: Path, seen: int) -> list[dict[str, Any]]:
    """Keep of the log what belongs to the run's first ``seen`` images; returns it."""
    work.mkdir(parents=True, exist_ok=True)
    log = work / "log.jsonl"
    lines = log.read_text().splitlines() if seen and log.exists() else []
    records = [record for record in map(json.loads, lines) if record["images"] <= seen]
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    return records


def keep(training: DenoiserTraining, outputs: Outputs, record: dict[str, Any], stated: dict[str, Any]) -> None:
    """Append to the log, save the state, draw a grid of samples, write the checkpoint."""
    recipe = training.recipe
    with (outputs.work / "log.jsonl").open("a") as log:
        log.write(json.dumps(record) + "\n")
    tqdm.write(" ".join(f"{k}={v:.5g}" if isinstance(v, float) else f"{k}={v}" for k, v in record.items()))
    write_state(training, outputs.work / "state.pt")
    shape = (recipe.network.image_channels, *training.images.shape[2:])
    grid = draw_samples(training.average, shape, 100, training.workers.device)
    save_grid(grid, outputs.work / f"samples-{training.seen:09d}.png")
    stated = {**stated, "command": outputs.command, "images_seen": training.seen, **record}
    stated["recipe"] = {name: value for name, value in vars(recipe).items() if name != "network"}
    save_network(outputs.checkpoint, training.average.network, dtype=getattr(torch, recipe.store), **stated)


def write_state(training: DenoiserTraining, path: Path) -> None:
    """Save the state through a temporary file, so that a kill leaves the last one whole."""
    scratch = path.with_suffix(".tmp")
    try:
        torch.save(training.state(), scratch)
        scratch.replace(path)
    except RuntimeError as error:  # what a full disk gives here
        raise OSError(str(error).splitlines()[0]) from None
    finally:
        scratch.unlink(missing_ok=True)


def restore(training: DenoiserTraining, path: Path) -> None:
    """Load the state that :func:`write_state` wrote.

    Raises:
        ValueError: with one line, if there is none or it can't be used.
    """
    try:
        state = torch.load(path, map_location=training.workers.device, weights_only=True)
        training.load_state(state)
    except FileNotFoundError:
        raise ValueError(f"{path}: nothing to resume from") from None
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path}: cannot resume from it ({str(error).splitlines()[0]})") from None
