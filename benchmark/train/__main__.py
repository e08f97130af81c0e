"""Command line: ``python -m benchmark.train denoiser|classifier|student --problem NAME``."""

import argparse
import math
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.commands import CommandLine, positive, read_settings, run_command
from benchmark.problems import make_problem
from benchmark.train.classifier import train_classifier
from benchmark.train.denoiser import Outputs, train_denoiser
from benchmark.train.evaluate import SampleMeasure, problem_features
from benchmark.train.images import load_split
from benchmark.train.recipes import CLASSIFIERS, DENOISERS
from benchmark.train.student import STUDENTS, StudentRecipe, train_student
from benchmark.workers import Workers, choose_device
from samplers.distillation import Distillation
from samplers.errors import UserError
from samplers.registry import lookup


def parser() -> argparse.ArgumentParser:
    """Build the parser of the subcommands, whose options override the recipes."""
    top = CommandLine(
        prog="python -m benchmark.train",
        description="Train the networks that the problems use. Recipes (architecture, learning rates, length) are in "
        "benchmark/train/recipes.py; the options here override them.",
        epilog="Several GPUs: torchrun --nproc-per-node 2 -m benchmark.train denoiser --problem cifar10. "
        "To use the result: python -m benchmark.run --problem cifar10 --set problem.checkpoint=FILE",
    )
    commands = top.add_subparsers(dest="command", required=True)
    denoiser = commands.add_parser("denoiser", help="a denoiser (EDM loss, Muon and Adam, averaged weights)")
    classifier = commands.add_parser("classifier", help="a classifier for class posteriors and features")
    for command, recipes in ((denoiser, DENOISERS), (classifier, CLASSIFIERS)):
        command.add_argument("--problem", required=True, choices=sorted(recipes), help="what to train on")
        command.add_argument("--data", help="data root (default: $DPMOT_DATA, else ~/.cache/dpmot)")
        command.add_argument("--out", type=Path, help="checkpoint (default: training/PROBLEM/KIND.safetensors)")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
        command.add_argument("--batch", type=positive, help="images of one step, over all processes")
        command.add_argument("--lr", type=float, help="learning rate (the peak of its schedule)")
    _add_denoiser_options(denoiser)
    classifier.add_argument("--epochs", type=positive, help="passes over the training images")
    add_student(commands)
    return top


def add_student(commands: Any) -> None:
    """Add the subcommand of students."""
    student = commands.add_parser("student", help="a distilled student, for the sampler's option student=FILE")
    add = student.add_argument
    add("--problem", required=True, help="whose denoiser is distilled")
    add("--sampler", required=True, help="progressive-distillation, easy-consistency, ... (benchmark.run --list)")
    add("--nfe", type=positive, help="budget that the student is for (default: the recipe's)")
    add("--set", nargs="+", action="extend", metavar="KEY=VALUE", help="options of the sampler, problem.KEY=VALUE")
    add("--out", type=Path, help="checkpoint (default: training/PROBLEM/SAMPLER.safetensors)")
    add("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    add("--every", type=positive, help="images between two evaluations (default: a tenth)")
    add("--fd", type=positive, help="samples of a Fréchet distance at every evaluation")
    add("--work", type=Path, help="log, sample grids, state (default: training/PROBLEM/SAMPLER)")
    add("--within", type=minutes, default=math.inf, help="stop after so many minutes, e.g. 20m; --resume goes on")
    add("--compact", action="store_true", help="save the state in half precision, half the space")
    add("--resume", action="store_true", help="go on from the state in the work folder")
    student.set_defaults(data=None, sigma_max=[80.0])


def _add_denoiser_options(denoiser: argparse.ArgumentParser) -> None:
    """What a denoiser's training takes beside the options of every training."""
    denoiser.add_argument("--images", type=positive, help="length: training images seen, over all processes")
    denoiser.add_argument("--every", type=positive, help="images between two evaluations (default: a tenth)")
    denoiser.add_argument("--p-mean", type=float, help="mean of log sigma in training")
    denoiser.add_argument("--p-std", type=float, help="standard deviation of log sigma in training")
    denoiser.add_argument("--decay", type=float, help="fraction of the training after which the rate falls to zero")
    denoiser.add_argument(
        "--ema",
        type=float,
        nargs="+",
        help="half-lives of the weight averages, fractions of the images seen; the best is written at the end",
    )
    denoiser.add_argument("--optimiser", choices=("muon", "adam"), help="muon (of inner convolutions, else adam)")
    denoiser.add_argument(
        "--weight-decay", type=float, help="of the inner convolutions' weights, times the rate a step"
    )
    denoiser.add_argument("--warmup", type=positive, help="steps of linear warm-up")
    denoiser.add_argument("--settle", type=int, help="images after which the rate falls as 1/sqrt(images); 0: never")
    denoiser.add_argument("--dropout", type=float, help="probability of dropout in the residual blocks")
    denoiser.add_argument("--fd", type=positive, help="samples of a Fréchet distance at every evaluation")
    denoiser.add_argument("--sigma-max", type=float, nargs="+", default=[80.0], help="where that sampling starts")
    denoiser.add_argument("--work", type=Path, help="log, sample grids, state (default: training/PROBLEM)")
    denoiser.add_argument(
        "--within", type=minutes, default=math.inf, help="stop after so many minutes, e.g. 20m; --resume goes on"
    )
    denoiser.add_argument("--compact", action="store_true", help="save the state in half precision, half the space")
    denoiser.add_argument("--resume", action="store_true", help="go on from the state in the work folder")
    denoiser.add_argument("--init", type=Path, help="start from the weights of this checkpoint")


OVERRIDES = (
    *("images", "batch", "optimiser", "lr", "p_mean", "p_std", "settle", "decay", "ema", "dropout", "weight_decay"),
    *("warmup", "epochs"),
)


def minutes(text: str) -> float:
    """Seconds of a time given in minutes, as ``20`` or ``20m``."""
    return 60 * float(text.removesuffix("m"))


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, 2 for what the user can mend, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    args = parser().parse_args(argv)
    if args.command == "classifier":
        return run_command(partial(classifier, command=made_by(argv)), args, interrupted="nothing is written")
    return run_command(
        partial(student if args.command == "student" else denoiser, command=made_by(argv)),
        args,
        interrupted="--resume goes on from the last evaluation",
    )


def made_by(argv: list[str]) -> str:
    """The command that remakes a checkpoint."""
    processes = int(os.environ.get("WORLD_SIZE", 1))
    launcher = f"torchrun --nproc-per-node {processes}" if processes > 1 else "python"
    return f"{launcher} -m benchmark.train {shlex.join(argv)}"


def classifier(args: argparse.Namespace, command: str) -> None:
    """Train a classifier."""
    recipe, device = recipe_of(args, CLASSIFIERS), choose_device(args.device)
    train_classifier(args.problem, recipe, checkpoint(args), command, device, args.data, args.seed)


def denoiser(args: argparse.Namespace, command: str) -> None:
    """Train a denoiser, on all processes that `torchrun` started."""
    recipe = recipe_of(args, DENOISERS)
    work = args.work or Path("training") / args.problem
    outputs = Outputs(checkpoint(args), work, args.every or max(1, recipe.images // 10), command, args.compact)
    with Workers.joined(args.device) as workers:
        train_denoiser(
            problem=args.problem,
            recipe=recipe,
            outputs=outputs,
            workers=workers,
            data=args.data,
            seed=args.seed,
            resume=args.resume,
            init=args.init,
            measure=sample_measure(args, workers) if args.fd else None,
            within=args.within,
        )


def student(args: argparse.Namespace, command: str) -> None:
    """Train a student, on all processes that `torchrun` started."""
    recipe = STUDENTS.get(args.problem, {}).get(args.sampler, StudentRecipe())
    options, of_problem = read_settings(args.set or ())
    sampler, nfe = lookup(args.sampler).make(**{**recipe.options, **options}), args.nfe or recipe.nfe
    if not isinstance(sampler, Distillation):
        raise UserError(f"sampler must be a distilled one such as easy-consistency, not '{args.sampler}'")
    folder = Path("training") / args.problem
    out, work = args.out or folder / f"{args.sampler}.safetensors", args.work or folder / args.sampler
    with Workers.joined(args.device) as workers:
        problem = make_problem(args.problem, **of_problem).to(workers.device)
        train_student(
            sampler=sampler,
            problem=problem,
            nfe=nfe,
            outputs=Outputs(out, work, args.every or 0, command, args.compact),
            workers=workers,
            resume=args.resume,
            measure=sample_measure(args, workers) if args.fd else None,
            within=args.within,
        )


def recipe_of(args: argparse.Namespace, recipes: Mapping[str, Any]) -> Any:
    """The recipe of the problem, with what the command line changes of it."""
    given = {name: value for name in OVERRIDES if (value := getattr(args, name, None)) is not None}
    if "ema" in given:
        given["ema"] = tuple(given["ema"])
    return replace(recipes[args.problem], **given)


def checkpoint(args: argparse.Namespace) -> Path:
    """Where the network is written."""
    return args.out or Path("training") / args.problem / f"{args.command}.safetensors"


def sample_measure(args: argparse.Namespace, workers: Workers) -> SampleMeasure:
    """What measures the network's samples at every evaluation."""
    train, test = (load_split(args.problem, s, workers.device, args.data).images for s in ("train", "test"))
    features = problem_features(args.problem, workers.device)
    return SampleMeasure(features, train, workers, args.fd, tuple(args.sigma_max), held_out=test)


if __name__ == "__main__":
    sys.exit(main())
