"""Command line: ``python -m benchmark.train denoiser|classifier --problem NAME``."""

import argparse
import math
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.commands import CommandLine, positive
from benchmark.data.arrays import DataError
from benchmark.train.classifier import train_classifier
from benchmark.train.denoiser import Outputs, train_denoiser
from benchmark.train.evaluate import SampleMeasure, problem_features
from benchmark.train.images import load_split
from benchmark.train.recipes import CLASSIFIERS, DENOISERS
from benchmark.workers import Workers, choose_device


def parser() -> argparse.ArgumentParser:
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
    denoiser.add_argument(
        "--optimiser", choices=("muon", "adam"), help="muon: of the inner convolutions, adam the rest"
    )
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
    classifier.add_argument("--epochs", type=positive, help="passes over the training images")
    return top


OVERRIDES = (
    *("images", "batch", "optimiser", "lr", "p_mean", "p_std", "settle", "decay", "ema", "dropout", "weight_decay"),
    *("warmup", "epochs"),
)


def minutes(text: str) -> float:
    """Seconds of a time given in minutes, as ``20`` or ``20m``."""
    return 60 * float(text.removesuffix("m"))


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    args = parser().parse_args(argv)
    recipes: dict[str, dict[str, Any]] = {"denoiser": DENOISERS, "classifier": CLASSIFIERS}
    if getattr(args, "ema", None) is not None:
        args.ema = tuple(args.ema)
    given = {name: value for name in OVERRIDES if (value := getattr(args, name, None)) is not None}
    out = args.out or Path("training") / args.problem / f"{args.command}.safetensors"
    processes = int(os.environ.get("WORLD_SIZE", 1))
    launcher = f"torchrun --nproc-per-node {processes}" if processes > 1 else "python"
    command = f"{launcher} -m benchmark.train {shlex.join(argv)}"
    try:
        recipe = replace(recipes[args.command][args.problem], **given)
        if args.command == "classifier":
            train_classifier(args.problem, recipe, out, command, choose_device(args.device), args.data, args.seed)
            return 0
        work = args.work or Path("training") / args.problem
        outputs = Outputs(out, work, args.every or max(1, recipe.images // 10), command, args.compact)
        with Workers.joined(args.device) as workers:
            measure = None
            if args.fd:
                train, test = (load_split(args.problem, s, workers.device, args.data).images for s in ("train", "test"))
                features = problem_features(args.problem, workers.device)
                measure = SampleMeasure(features, train, workers, args.fd, tuple(args.sigma_max), held_out=test)
            train_denoiser(
                problem=args.problem,
                recipe=recipe,
                outputs=outputs,
                workers=workers,
                data=args.data,
                seed=args.seed,
                resume=args.resume,
                init=args.init,
                measure=measure,
                within=args.within,
            )
    except (DataError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        after = "; --resume goes on from the last evaluation" if args.command == "denoiser" else ", nothing written"
        print(f"interrupted{after}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
