"""Preparing image data: from downloads, folders, archives and LMDBs to the arrays that the suite reads.

Images are appended one by one to ``<split>.npy``, whose length tells how far it got; ``dataset.json.part`` says what is
being written. The same preparation goes on where it was interrupted, any other starts anew. ``dataset.json`` comes
last, and without it the folder is no data set.
"""

import hashlib
import io
import json
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmark.data.arrays import DataError
from benchmark.data.decoding import AS_STORED, Decoding
from benchmark.data.reader import decode_image, told
from benchmark.data.sources import Source
from benchmark.records.files import write_json
from dpmot.progress import progress_bar


def crop_and_resize(image: Image.Image, crop: str, size: int) -> np.ndarray:
    """One RGB image as uint8 ``[size, size, 3]``.

    Args:
        crop: ``none`` (the picture is squeezed), ``centre`` (the largest centred square), or ``celeba`` (the square
            of 128 pixels around row 121, column 89 of the aligned 178×218 pictures).
    """
    width, height = image.size
    if crop == "celeba":
        if (width, height) != (178, 218):
            raise DataError(f"crop 'celeba' is for aligned pictures of 178×218, got {width}×{height}: use centre")
        image = image.crop((89 - 64, 121 - 64, 89 + 64, 121 + 64))
    elif crop == "centre":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)


def decode(source: Source, i: int, how: Decoding = AS_STORED) -> tuple[Image.Image, list[str]]:
    """Image i in RGB, and remarks on what was done with it.

    Raises:
        DataError: it is damaged or not there; the message names it.
    """
    try:
        return decode_image(source, i, how)
    except DataError as error:
        raise DataError(f"{source.names[i]}: {error}") from None


def write_split(
    path: Path, source: Source, chosen: list[int], crop: str, size: int, how: Decoding, remarks: list[str]
) -> str:
    """Write the chosen images as an array file, after those that it holds; returns the SHA-256 of their bytes.

    Images are appended, and only whole ones count when it goes on, so neither a kill nor a full disk leaves a gap.
    What is to be remarked on those that are read is appended to `remarks`.

    Raises:
        DataError: an image is damaged, or the disk is full (what is written so far is kept to go on from).
    """
    header, image_bytes = io.BytesIO(), size * size * 3
    shape = (len(chosen), size, size, 3)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    start = header.tell()
    try:
        path.touch()
        with path.open("r+b") as file:
            done = max(0, path.stat().st_size - start) // image_bytes
            file.write(header.getvalue())
            file.seek(start + done * image_bytes)
            for i in progress_bar(chosen[done:], initial=done, total=len(chosen), desc=path.stem, unit="img"):
                image, found = decode(source, i, how)
                remarks += found
                file.write(crop_and_resize(image, crop, size).tobytes())
            file.flush()
            os.fsync(file.fileno())
            file.seek(start)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}); run again to go on") from None


def split_by_count(names: list[str], test: int) -> dict[str, list[int]]:
    """Keep `test` images apart: those whose names have the lowest SHA-256.

    So they are a random part even where names are sorted by class, and the same part wherever the images lie.
    """
    if test >= len(names):
        raise DataError(f"{test} test images were asked for, but there are only {len(names)} images")
    folders = {posixpath.dirname(name) for name in names}
    shared = posixpath.commonpath(folders) if "" not in folders else "."
    hashes = [hashlib.sha256(posixpath.relpath(name, shared or ".").encode()).digest() for name in names]
    kept = set(sorted(range(len(names)), key=hashes.__getitem__)[:test])
    train, apart = ([i for i in range(len(names)) if (i in kept) == asked] for asked in (False, True))
    return {"train": train, **({"test": apart} if test else {})}


def split_celeba(names: list[str]) -> dict[str, list[int]]:
    """CelebA's own partition, by file number: train up to 162,770, valid up to 182,637, then test."""
    splits: dict[str, list[int]] = {"train": [], "valid": [], "test": []}
    for i, name in enumerate(names):
        number = Path(name).stem
        if not number.isdecimal():
            raise DataError(f"{name}: CelebA's files are named by number, like 000001.jpg")
        splits["train" if int(number) <= 162_770 else "valid" if int(number) <= 182_637 else "test"].append(i)
    return {split: chosen for split, chosen in splits.items() if chosen}


def plan(source: Source, splits: dict[str, list[int]], crop: str, size: int, how: Decoding) -> dict[str, Any]:
    """All that determines a data set, as far as it is known before the images are read."""
    info: dict[str, Any] = {"source": source.described, "crop": crop, "size": size, "resampling": "lanczos"}
    info |= {f"{split}_images": len(chosen) for split, chosen in splits.items()}
    if how != AS_STORED:
        info |= vars(how)
    return info | {"images": identity(source, splits)}


def write_dataset(
    folder: Path,
    source: Source,
    splits: dict[str, list[int]],
    crop: str,
    size: int,
    labels: dict[str, Any] | None = None,
    how: Decoding = AS_STORED,
) -> list[str]:
    """Write all splits, labels where there are any, and ``dataset.json``; returns notes on what was read."""
    folder.mkdir(parents=True, exist_ok=True)
    info = plan(source, splits, crop, size, how)
    resumed = _goes_on(folder, info | {"place": source.place})
    remarks: list[str] = []
    for split, chosen in splits.items():
        info[f"{split}_sha256"] = write_split(
            folder / f"{split}.npy", source, chosen, crop, size, how=how, remarks=remarks
        )
        if labels:
            np.save(folder / f"{split}_labels.npy", np.asarray(labels[split], dtype=np.int64))
    notes = [*source.notes, *told(remarks)]
    if resumed:
        notes.append("counts of files are of those read since the preparation went on")
    write_json(folder / "dataset.json", info | ({"notes": notes} if notes else {}))
    (folder / "dataset.json.part").unlink(missing_ok=True)
    return notes


def identity(source: Source, splits: dict[str, list[int]]) -> str:
    """SHA-256 of which images make up which split, by name and order."""
    digest = hashlib.sha256()
    for split, chosen in splits.items():
        digest.update(repr((split, [source.names[i] for i in chosen])).encode())
    return digest.hexdigest()


def _goes_on(folder: Path, plan: dict[str, Any]) -> bool:
    """Keep the arrays of an interrupted preparation with the same plan, if there was one; delete those of any other."""
    record = folder / "dataset.json.part"
    try:
        earlier = dict(json.loads(record.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        earlier = {}
    if earlier == plan:
        return True
    for key in earlier | plan:
        if key.endswith("_images"):
            (folder / f"{key.removesuffix('_images')}.npy").unlink(missing_ok=True)
    write_json(record, plan)
    return False


def check_hashes(folder: Path, info: dict[str, Any]) -> Iterator[str]:
    """The splits whose arrays do not have the hash that ``dataset.json`` states."""
    for key, stated in info.items():
        if not key.endswith("_sha256"):
            continue
        split = key.removesuffix("_sha256")
        try:
            array = np.lib.format.open_memmap(folder / f"{split}.npy", mode="r")
        except (OSError, ValueError, EOFError):
            yield split
            continue
        if hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() != stated:
            yield split
