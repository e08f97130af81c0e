"""A student's training from the first step to the last: log, samples, checkpoints, resuming."""

import json
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from benchmark.networks.checkpoint import save_network
from benchmark.problems.base import Problem
from benchmark.train.denoiser import Outputs, begin_log, stretches
from benchmark.train.evaluate import SampleMeasure, save_grid
from benchmark.train.recipes import DENOISERS
from benchmark.train.state import resume_or_begin, write_state
from benchmark.train.student_stepping import StudentTraining
from benchmark.workers import Workers
from samplers.denoisers import CountingDenoiser
from samplers.distillation import Distillation
from samplers.errors import UserError
from samplers.noise import ShardNoise
from samplers.options import configuration

BATCH = 1000
"""Samples drawn at a time."""
PICTURED = 100
"""Samples of a picture."""


@dataclass(frozen=True)
class StudentRecipe:
    """How a student of one problem is trained by one sampler.

    Attributes:
        nfe: the budget that it is for.
        options: of the sampler, where they are not the defaults.
    """

    nfe: int = 1
    options: dict[str, Any] = field(default_factory=dict)


AUTHORS = {"preset": "authors"}
STUDENTS = {
    "digits": {
        "easy-consistency": StudentRecipe(1, {"images": 400_000, "lr": 5e-4, "average": 0.999}),
        "knowledge-distillation": StudentRecipe(1, {"images": 400_000, "pairs": 20_000, "lr": 1e-3}),
        "consistency-distillation": StudentRecipe(1, {"images": 400_000, "lr": 1e-3, "average": 0.999}),
        "progressive-distillation": StudentRecipe(4, {"images": 100_000, "teacher": 64}),
    },
    "cifar10": {
        "easy-consistency": StudentRecipe(2, AUTHORS),
        "knowledge-distillation": StudentRecipe(1, AUTHORS | {"pairs": 200_000, "images": 12_800_000}),
        "consistency-distillation": StudentRecipe(1, AUTHORS | {"images": 12_800_000, "warmup": 500_000}),
        "progressive-distillation": StudentRecipe(4, AUTHORS | {"teacher": 512, "images": 1_280_000}),
    },
}
"""Shorter than the authors' where those took days; the rest of their settings stays."""


def train_student(
    sampler: Distillation,
    problem: Problem,
    nfe: int,
    outputs: Outputs,
    workers: Workers,
    resume: bool = False,
    measure: SampleMeasure | None = None,
    within: float = math.inf,
) -> dict[str, Any]:
    """Train a student, look at its samples as it goes, and write its weights; returns the last evaluation.

    Args:
        resume: go on from the state in ``outputs.work``.
        measure: Fréchet distances and copies of the samples, taken at every evaluation.
        within: seconds after which to stop, evaluate and save the state, for another run to go on.

    Raises:
        UserError: the state cannot be used, the training diverged, or nothing can be written.
    """
    sampler.check(nfe)
    sampler.suits(problem, nfe)
    training = StudentTraining(sampler, problem, nfe, workers)
    resume_or_begin(training, outputs.work, resume)
    records = begin_log(outputs.work, training.seen) if workers.first else []
    every = outputs.every or max(1, training.recipe.images // 10)
    for stretch in stretches(training, every, within):
        if training.diverged():
            raise UserError(f"the weights are not finite after {training.seen:,} images; the files of before are kept")
        record = stretch.record | {"nfe": training.reached.nfe}
        for budget in budgets(training):
            record |= look(training, budget, measure)
        records.append(record)
        if workers.first:
            keep(training, outputs, record)
        workers.wait()
    if workers.first:
        tqdm.write(f"{training.seen:,} images seen; the weights are in {outputs.checkpoint}")
    return records[-1] if records else {}


def budgets(training: StudentTraining) -> tuple[int, ...]:
    """Budgets at which the student is looked at: that of its stage, or the two that are asked for most."""
    return (1, 2) if training.sampler.any_budget else (training.reached.nfe,)


@torch.no_grad()
def draw(training: StudentTraining, nfe: int, count: int, first: int = 0, every: int = 1) -> Tensor:
    """Samples of the averaged student: of ``count``, cut into batches, every so many batches from the first on."""
    problem, sampler = training.problem, training.sampler
    network, sampling = sampler.evaluated(problem, training.average), sampler.sampling(problem, nfe)
    batch, samples = min(BATCH, max(1, count // every)), []
    for k in range(first, -(-count // batch), every):
        size = min(batch, count - k * batch)
        noise = ShardNoise(0, k, (size, *problem.shape), problem.dtype, problem.device)
        samples.append(sampling(CountingDenoiser(network, nfe), noise))
    return torch.cat(samples)


def look(training: StudentTraining, nfe: int, measure: SampleMeasure | None) -> dict[str, Any]:
    """Fréchet distances and the share of copies of samples with ``nfe`` evaluations, dealt to all processes."""
    if measure is None:
        return {}
    workers = training.workers
    images = draw(training, nfe, measure.count, workers.rank, workers.count)
    found: dict[str, Any] = {
        f"fd at {nfe}" + (f" {name}" if number else ""): distance
        for number, (name, distance) in enumerate(measure.distances(images).items())
    }
    if measure.copying:
        found[f"copies at {nfe}"] = measure.copies(images)
    return found


def keep(training: StudentTraining, outputs: Outputs, record: dict[str, Any]) -> None:
    """Append to the log, save the state and a picture of samples, write the averaged student as the checkpoint.

    Raises:
        UserError: they cannot be written.
    """
    problem, sampler = training.problem, training.sampler
    try:
        with (outputs.work / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        tqdm.write(" ".join(f"{k}={v:.5g}" if isinstance(v, float) else f"{k}={v}" for k, v in record.items()))
        write_state(training, outputs.work, outputs.compact)
        picture = draw(training, budgets(training)[-1], PICTURED)
        save_grid(picture, outputs.work / f"samples-{training.seen:09d}.png")
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{outputs.work}: cannot be written ({reason}); --resume goes on from there") from None
    fingerprint = problem.fingerprint()
    stored = DENOISERS[problem.name].store if problem.name in DENOISERS else "float16"
    stated: dict[str, Any] = record | {
        "problem": problem.name,
        "command": outputs.command,
        "images_seen": training.seen,
        "method": sampler.title,
        "cost": sampler.cost(problem, training.nfe) | {"images": training.seen},
        "seconds": training.seconds + training.preparation,
        "options": configuration(sampler),
        "denoiser": fingerprint.get("denoiser") or fingerprint["denoiser_sha256"],
    }
    save_network(outputs.checkpoint, training.average.network, dtype=getattr(torch, stored), **stated)
