"""Command line: ``python -m benchmark.data prepare NAME`` and ``python -m benchmark.data list``."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.commands import CommandLine, run_command
from benchmark.data.arrays import DataError, data_root, open_images
from benchmark.data.decoding import AS_STORED, Decoding, add_decoding
from benchmark.data.prepare import check_hashes, plan, split_by_count, split_celeba, write_dataset
from benchmark.data.sources import Source, open_source


@dataclass(frozen=True)
class Known:
    """A data set that can be prepared: its customary crop and size, and how many images are kept for testing."""

    crop: str
    size: int
    test: int = 0
    advice: str = ""


KNOWN = {
    "cifar10": Known("none", 32, advice="the folder of torchvision's download (or leave --from out to download it)"),
    "celeba": Known("celeba", 64, advice="img_align_celeba.zip, or the folder it unpacks to"),
    "celebahq": Known("centre", 256, 1000, "a folder or a zip of its 30,000 pictures"),
    "lsun-bedroom": Known("centre", 64, 1000, "the LMDB folder bedroom_train_lmdb, a folder of images, or a zip"),
    "lsun-church": Known("centre", 64, 1000, "the LMDB folder church_outdoor_train_lmdb, a folder of images, or a zip"),
}


def parser() -> argparse.ArgumentParser:
    """Build the parser of ``prepare`` and ``list``."""
    top = CommandLine(
        prog="python -m benchmark.data",
        description="Prepare image data as arrays: ROOT/NAME/SPLIT.npy (uint8 [N, H, W, 3]) and dataset.json.",
        epilog="Example: python -m benchmark.data prepare celeba --from img_align_celeba.zip --size 64",
    )
    commands = top.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("prepare", help="write a data set; an interrupted one goes on where it stopped")
    prepare.add_argument("name", choices=KNOWN, help="which data set")
    prepare.add_argument(
        "--from", dest="source", type=Path, metavar="PATH", help="folder of images, .zip, .tar, or LMDB"
    )
    prepare.add_argument("--size", type=int, help="side in pixels (default: 64; CIFAR-10: 32, CelebA-HQ: 256)")
    prepare.add_argument("--crop", choices=("none", "centre", "celeba"), help="default: the customary one")
    prepare.add_argument("--test", type=int, help="images kept apart, at random (LSUN, CelebA-HQ; default 1000)")
    add_decoding(prepare)
    listed = commands.add_parser("list", help="show what is there")
    listed.add_argument("--check", action="store_true", help="compare every array with its stated SHA-256")
    for command in (prepare, listed):
        command.add_argument("--data", metavar="ROOT", help="data root (default: $DPMOT_DATA, else ~/.cache/dpmot)")
    return top


def prepare_cifar10(folder: Path, source: Path | None) -> None:
    """CIFAR-10 through torchvision, which checks the archive's hash and downloads it where ``source`` is None."""
    try:
        from torchvision.datasets import CIFAR10
    except ImportError:
        raise DataError("cifar10: needs torchvision: pip install 'dpmot-bench[images]'") from None
    home = source or folder / "download"
    try:
        parts = {s: CIFAR10(str(home), train=s == "train", download=source is None) for s in ("train", "test")}
    except Exception as error:  # torchvision and urllib raise many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"cifar10: torchvision cannot read or download it ({reason}); give --from FOLDER") from None
    images = np.concatenate([part.data for part in parts.values()])
    splits = {"train": list(range(len(parts["train"].data)))}
    splits["test"] = list(range(len(splits["train"]), len(images)))
    by_name = {f"image {i}": image for i, image in enumerate(images)}
    every = Source(list(by_name), by_name.__getitem__, "CIFAR-10, torchvision")
    write_dataset(folder, every, splits, "none", 32, {split: part.targets for split, part in parts.items()})


def prepare(args: argparse.Namespace) -> str:
    """Prepare a data set; returns what was done."""
    known = KNOWN[args.name]
    size, crop = known.size if args.size is None else args.size, args.crop or known.crop
    if size < 1 or (args.test is not None and args.test < 0):
        raise DataError("--size must be at least 1 and --test at least 0")
    if args.name == "cifar10" and (size, crop) != (32, "none"):
        raise DataError("cifar10: images are 32×32 and not cropped")
    name = "cifar10" if args.name == "cifar10" else f"{args.name.replace('-', '_')}{size}"
    folder = data_root(args.data) / name
    there = (folder / "dataset.json").exists()
    if args.name == "cifar10":
        if not there:
            prepare_cifar10(folder, args.source)
        return f"{folder}: already there" if there else f"wrote {folder}"
    if args.source is None:
        if not there:
            raise DataError(f"{args.name}: give --from PATH: {known.advice}")
        compare(folder, {"crop": args.crop, "test_images": args.test})
        return f"{folder}: already there"
    source, how = open_source(args.source), Decoding(args.orientation, args.transparency)
    test = known.test if args.test is None else args.test
    splits = split_celeba(source.names) if args.name == "celeba" else split_by_count(source.names, test)
    if there:
        compare(folder, plan(source, splits, crop, size, how) | vars(how))
        return f"{folder}: already there"
    notes = write_dataset(folder, source, splits, crop, size, how=how)
    return "\n".join([f"wrote {folder}", *(f"  {note}" for note in notes)])


def compare(folder: Path, wanted: dict[str, Any]) -> None:
    """Raise DataError where the data set that is there states something else than is wanted (None: nothing)."""
    stated = open_images(folder.name, folder.parent).info
    for key, value in wanted.items():
        found = stated.get(key, {"test_images": 0, **vars(AS_STORED)}.get(key, value))  # other makers state less
        if value is not None and found != value:
            shown = f"{key} '{found}', not '{value}'" if key != "images" else "other images than --from names"
            raise DataError(f"{folder}: already there with {shown}; remove it, or give another --data")


def show(root: Path, check: bool) -> int:
    """Print the data sets under the root; returns how many splits are damaged."""
    found, damaged = sorted(root.glob("*/dataset.json")), 0
    if not found:
        print(f"no data in {root}; 'python -m benchmark.data prepare --help' says how to get some")
    for file in found:
        try:
            data = open_images(file.parent.name, root)
            shapes = {split: data.images(split).shape for split in data.splits}
            counts = ", ".join(f"{split} {n:,} of {h}x{w}" for split, (n, h, w, _) in shapes.items())
            print(f"{data.name}: {counts}; {data.info.get('source', 'source not stated')}")
            for split in check_hashes(data.folder, data.info) if check else ():
                print(f"  {split}: damaged, its SHA-256 is not the stated one")
                damaged += 1
        except DataError as error:
            print(f"  {error}")
            damaged += 1
    return damaged


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, 1 if `list` found damage, 2 bad input, 130 interrupted."""
    return run_command(prepare_or_list, parser().parse_args(argv), interrupted="the same command goes on from here")


def prepare_or_list(args: argparse.Namespace) -> int:
    """Do what the subcommand says."""
    if args.command == "list":
        return 1 if show(data_root(args.data), args.check) else 0
    print(prepare(args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
