"""A denoiser's training from the first step to the last: log, evaluations, checkpoints, resuming."""

import json
import math
import time
from collections.abc import Callable, Iterator
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
from benchmark.train.state import resume_or_begin, write_state
from benchmark.train.stepping import DenoiserTraining
from benchmark.train.student_stepping import StudentTraining
from benchmark.workers import Workers
from dpmot.progress import progress_bar
from samplers.errors import UserError

Training = DenoiserTraining | StudentTraining
CHECK = 50
"""Steps between two looks at the clock."""
Measure = Callable[[Denoiser], dict[str, Any]]
"""Figures of a denoiser, for the log."""


@dataclass(frozen=True)
class Outputs:
    """What a training run writes, and how often (in images).

    Attributes:
        checkpoint: the averaged weights, at every evaluation.
        work: folder of the log (``log.jsonl``), sample grids and the state to resume from (``state.json``).
        every: images between two evaluations, each of which also saves the state.
        command: stated in the checkpoint.
        compact: save the state in half the space; see :func:`benchmark.train.state.write_state`.
    """

    checkpoint: Path
    work: Path
    every: int
    command: str
    compact: bool = False


def evaluate(
    training: DenoiserTraining, average: Denoiser, train: Split, test: Split, measure: Measure | None
) -> dict[str, Any]:
    """Denoising losses of averaged weights on both splits (as many images of each), and ``measure``'s figures."""
    recipe = training.recipe
    count = min(len(train.images), len(test.images))
    losses: dict[str, Any] = {
        f"{name}_loss": denoising_loss(average, as_float(split.images[:count]), recipe.p_mean, recipe.p_std)
        for name, split in (("train", train), ("test", test))
    }
    return {**losses, **(measure(average) if measure else {})}


def evaluate_all(training: DenoiserTraining, *arguments: Any) -> tuple[Denoiser, dict[str, Any]]:
    """:func:`evaluate` of every weight average; the best of them, and its figures beside those of all.

    The best has the lowest Fréchet distance, where it is measured, else the lowest loss on the test split.
    """
    figures = [
        {"ema": h} | evaluate(training, a, *arguments)
        for h, a in zip(training.recipe.ema, training.averages, strict=True)
    ]
    deciding = next((name for name in figures[0] if name.startswith("fd")), "test_loss")
    best = min(range(len(figures)), key=lambda k: figures[k][deciding])
    beside = {"averages": figures} if len(figures) > 1 else {}
    return training.averages[best], {**figures[best], **beside}


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
    within: float = math.inf,
) -> dict[str, Any]:
    """Train, evaluate as it goes, and write the averaged weights; returns the last evaluation.

    Evaluations on the way are of the first weight average; the last one is of all, and the best is written.

    Args:
        resume: go on from the state in ``outputs.work``.
        init: start from the weights of this checkpoint (with fresh optimisers and a fresh schedule); the images that it
            had seen are stated as ``images_before``.
        measure: further figures of the averaged denoiser, taken at every evaluation.
        within: seconds after which to stop, evaluate and save the state, for another run to go on.

    Raises:
        UserError: the state or the checkpoint cannot be used (one line).
        DataError: the data are missing.
    """
    train, test = (load_split(problem, split, workers.device, data) for split in ("train", "test"))
    training = DenoiserTraining(recipe, train.images, workers, seed)
    begin(training, outputs.work, resume, init)
    stated = {"problem": problem, "seed": seed, "images_before": training.images_before}
    records = begin_log(outputs.work, training.seen) if workers.first else []
    for stretch in stretches(training, outputs.every, within):
        if stretch.last:
            average, figures = evaluate_all(training, train, test, measure)
        else:
            average = training.average
            figures = {"ema": recipe.ema[0]} | evaluate(training, average, train, test, measure)
        records.append(stretch.record | figures)
        if workers.first:
            keep(training, average, outputs, records[-1], stated)
        workers.wait()
    if workers.first:
        tqdm.write(f"{training.seen:,} images seen; the weights are in {outputs.checkpoint}")
    return records[-1] if records else {}


@dataclass(frozen=True)
class Stretch:
    """Steps up to an evaluation: their figures for the log, and whether they are the last of this run."""

    record: dict[str, Any]
    last: bool


def stretches(training: Training, every: int, within: float) -> Iterator[Stretch]:
    """Train, pausing after every ``every`` images, and stop at the recipe's end or after ``within`` seconds.

    Raises:
        UserError: the loss is not finite.
    """
    recipe, workers = training.recipe, training.workers
    total = -(-recipe.images // recipe.batch)
    marks = {-(-k // recipe.batch) for k in range(every, recipe.images, every)} | {total}
    losses: list[Tensor] = []
    began = started = time.perf_counter()
    with progress_bar(
        total=recipe.images,
        initial=training.seen,
        unit="img",
        unit_scale=True,
        disable=not workers.first,
        mininterval=2,
    ) as bar:
        while training.step < total:
            losses.append(training.train_step())
            bar.update(recipe.batch)
            late = training.step % CHECK == 0 and workers.any(time.perf_counter() - began > within)
            if training.step in marks or late:
                mean_loss = workers.mean(torch.stack(losses).mean())  # waits for the device
                record = _figures(training, mean_loss, len(losses), time.perf_counter() - started)
                yield Stretch(record, last=late or training.step == total)
                losses.clear()
                started = time.perf_counter()
            if late:
                return


def _figures(training: Training, mean_loss: float, steps: int, seconds: float) -> dict[str, Any]:
    """What the log says of the last ``steps`` steps, which took so many seconds."""
    if not math.isfinite(mean_loss):
        raise UserError(f"the loss is not finite after {training.seen:,} images; the files of before are kept")
    training.seconds += seconds
    return {
        "images": training.seen,
        "images_before": training.images_before,
        "seconds": round(training.seconds, 1),
        "images_per_second": round(steps * training.recipe.batch / seconds, 1),
        "running_loss": mean_loss,
        "learning_rate": training.learning_rate(),
    }


def begin(training: DenoiserTraining, work: Path, resume: bool, init: Path | None) -> None:
    """Give ``training`` the weights that it starts from: of a checkpoint, of its state, or random ones.

    Raises:
        UserError: they cannot be used, or a training is there already; one line.
    """
    if init is not None:
        tensors, metadata = read_checkpoint(init)
        training.images_before = sum(int(metadata.get(name, 0)) for name in ("images_before", "images_seen"))
        for network in (training.network, *(average.network for average in training.averages)):
            load_tensors(init, network, tensors)
    resume_or_begin(training, work, resume)


def begin_log(work: Path, seen: int) -> list[dict[str, Any]]:
    """Keep of the log what belongs to the run's first ``seen`` images; returns it."""
    work.mkdir(parents=True, exist_ok=True)
    log = work / "log.jsonl"
    lines = log.read_text().splitlines() if seen and log.exists() else []
    records = [record for record in map(json.loads, lines) if record["images"] <= seen]
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    return records


def keep(
    training: DenoiserTraining, average: Denoiser, outputs: Outputs, record: dict[str, Any], stated: dict[str, Any]
) -> None:
    """Append to the log, save the state, draw a grid of samples of ``average``, write it as the checkpoint.

    Raises:
        UserError: they cannot be written; one line.
    """
    recipe = training.recipe
    stated = {**stated, "command": outputs.command, "images_seen": training.seen, **record}
    stated["recipe"] = {name: value for name, value in vars(recipe).items() if name != "network"}
    shape = (recipe.network.image_channels, *training.images.shape[2:])
    try:
        with (outputs.work / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        shown = {name: value for name, value in record.items() if name != "averages"}
        tqdm.write(" ".join(f"{k}={v:.5g}" if isinstance(v, float) else f"{k}={v}" for k, v in shown.items()))
        write_state(training, outputs.work, outputs.compact)
        grid = draw_samples(average, shape, 100, training.workers.device)
        save_grid(grid, outputs.work / f"samples-{training.seen:09d}.png")
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{outputs.work}: cannot be written ({reason}); --resume goes on from there") from None
    save_network(outputs.checkpoint, average.network, dtype=getattr(torch, recipe.store), **stated)
