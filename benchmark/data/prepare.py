"""Preparing image data: from downloads, folders, zips and LMDBs to the arrays that the suite reads.

Images are written one by one into a memory-mapped ``<split>.npy.part``; how far it got stands beside it, so that an
interrupted preparation goes on where it stopped. A split gets its name when it is whole, ``dataset.json`` comes last.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from benchmark.data.arrays import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm"}
SAVE_EVERY = 1000


@dataclass(frozen=True)
class Source:
    """Encoded or decoded images in a fixed order.

    Attributes:
        names: one a image, for messages and for splits.
        read: index -> file contents, or an array [H, W, 3].
        described: where the images come from, for ``dataset.json``.
    """

    names: list[str]
    read: Callable[[int], bytes | np.ndarray]
    described: str


def open_source(path: Path) -> Source:
    """Images in a folder (with its subfolders), a zip, or an LSUN LMDB, sorted by name.

    Raises:
        DataError: nothing there, no images in it, or the package that reads it is missing.
    """
    if path.is_dir() and (path / "data.mdb").exists():
        return _lmdb(path)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        source = Source([str(file.relative_to(path)) for file in files], lambda i: files[i].read_bytes(), path.name)
    elif path.suffix == ".zip" and path.is_file():
        try:
            archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile:
            raise DataError(f"{path}: damaged, or no zip") from None
        names = sorted(name for name in archive.namelist() if Path(name).suffix.lower() in SUFFIXES)
        source = Source(names, lambda i: archive.read(names[i]), path.name)
    else:
        raise DataError(f"{path}: expected a folder of images, a .zip, or an LMDB folder")
    if not source.names:
        raise DataError(f"{path}: no images in it (looked for {', '.join(sorted(SUFFIXES))})")
    return source


def _lmdb(path: Path) -> Source:
    """The LMDB of an LSUN category: values are encoded images."""
    try:
        import lmdb
    except ImportError:
        raise DataError(f"{path}: reading an LMDB needs the package lmdb: pip install lmdb") from None
    environment = lmdb.open(str(path), readonly=True, lock=False, readahead=False)
    with environment.begin() as transaction:
        keys = [bytes(key) for key in transaction.cursor().iternext(keys=True, values=False)]

    def read(i: int) -> bytes:
        with environment.begin() as transaction:
            return transaction.get(keys[i]) or b""

    return Source([key.decode("ascii", "replace") for key in keys], read, path.name)


def crop_and_resize(image: Image.Image, crop: str, size: int) -> np.ndarray:
    """One image as uint8 ``[size, size, 3]``.

    Args:
        crop: ``none`` (the picture is squeezed), ``centre`` (the largest centred square), or ``celeba`` (the square
            of 128 pixels around row 121, column 89 of the aligned 178×218 pictures).
    """
    image = image.convert("RGB")
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


def decode(source: Source, i: int) -> Image.Image:
    """Image i.

    Raises:
        DataError: it is damaged; the message names it.
    """
    content = source.read(i)
    if isinstance(content, np.ndarray):
        return Image.fromarray(content)
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise DataError(f"{source.names[i]}: damaged, or no image") from None


def write_split(folder: Path, split: str, source: Source, chosen: list[int], crop: str, size: int) -> str:
    """Write the chosen images as ``<split>.npy``; returns the SHA-256 of their bytes. Goes on where it stopped.

    Raises:
        DataError: an image is damaged, or the disk is full (what is written so far is kept to go on from).
    """
    final, part, marker = (folder / f"{split}.npy{end}" for end in ("", ".part", ".done"))
    shape = (len(chosen), size, size, 3)
    done = 0
    try:
        if part.exists() and marker.exists():
            array = np.lib.format.open_memmap(part, mode="r+")
            stated = json.loads(marker.read_text())
            done = stated["done"] if array.shape == shape and stated["crop"] == crop else 0
        if not done:
            array = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
        for k in tqdm(range(done, len(chosen)), initial=done, total=len(chosen), desc=split, unit="img"):
            array[k] = crop_and_resize(decode(source, chosen[k]), crop, size)
            if (k + 1) % SAVE_EVERY == 0:
                array.flush()
                marker.write_text(json.dumps({"done": k + 1, "crop": crop}))
        array.flush()
        digest = hashlib.sha256(array.data).hexdigest()
        del array
        part.replace(final)
        marker.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror or error}); run again to go on") from None
    return digest


def split_by_count(names: list[str], test: int) -> dict[str, list[int]]:
    """The last ``test`` images are kept apart."""
    if test >= len(names):
        raise DataError(f"{test} test images were asked for, but there are only {len(names)} images")
    cut = len(names) - test
    return {"train": list(range(cut)), **({"test": list(range(cut, len(names)))} if test else {})}


def split_celeba(names: list[str]) -> dict[str, list[int]]:
    """CelebA's own partition, by file number: train up to 162,770, valid up to 182,637, then test."""
    splits: dict[str, list[int]] = {"train": [], "valid": [], "test": []}
    for i, name in enumerate(names):
        number = Path(name).stem
        if not number.isdigit():
            raise DataError(f"{name}: CelebA's files are named by number, like 000001.jpg")
        splits["train" if int(number) <= 162_770 else "valid" if int(number) <= 182_637 else "test"].append(i)
    return {split: chosen for split, chosen in splits.items() if chosen}


def write_dataset(
    folder: Path,
    source: Source,
    splits: dict[str, list[int]],
    crop: str,
    size: int,
    labels: dict[str, Any] | None = None,
) -> None:
    """Write all splits, labels where there are any, and ``dataset.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    info: dict[str, Any] = {"source": source.described, "crop": crop, "size": size, "resampling": "lanczos"}
    for split, chosen in splits.items():
        info[f"{split}_sha256"] = write_split(folder, split, source, chosen, crop, size)
        info[f"{split}_images"] = len(chosen)
        if labels:
            np.save(folder / f"{split}_labels.npy", np.asarray(labels[split], dtype=np.int64))
    scratch = folder / "dataset.json.tmp"
    scratch.write_text(json.dumps(info, indent=1) + "\n")
    scratch.replace(folder / "dataset.json")


def check_hashes(folder: Path, info: dict[str, Any]) -> Iterator[str]:
    """The splits whose arrays do not have the hash that ``dataset.json`` states."""
    for key, stated in info.items():
        if not key.endswith("_sha256"):
            continue
        split = key.removesuffix("_sha256")
        try:
            array = np.load(folder / f"{split}.npy", mmap_mode="r")
        except (OSError, ValueError, EOFError):
            yield split
            continue
        if hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() != stated:
            yield split
