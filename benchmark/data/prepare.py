"""Preparing image data: from downloads, folders, zips and LMDBs to the arrays that the suite reads.

Images are appended one by one to ``<split>.npy``, whose length tells how far it got; ``dataset.json.part`` says what is
being written. The same preparation goes on where it was interrupted, any other starts anew. ``dataset.json`` comes
last, and without it the folder is no data set.
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from benchmark.data.arrays import DataError
from benchmark.records.files import write_json

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm"}


@dataclass(frozen=True)
class Source:
    """Encoded or decoded images in a fixed order.

    Attributes:
        names: one an image, for messages and for splits.
        read: index -> file contents, or an array [H, W, 3].
        described: where the images come from, for ``dataset.json``.
        place: where they lie on this machine, which tells sources of the same names apart.
    """

    names: list[str]
    read: Callable[[int], bytes | np.ndarray]
    described: str
    place: str = ""


def open_source(path: Path) -> Source:
    """Images in a folder (with its subfolders), a zip, or an LSUN LMDB, sorted by name.

    Raises:
        DataError: nothing there, no images in it, or the package that reads it is missing.
    """
    path = path.absolute()  # "." has no name
    if path.is_dir() and (path / "data.mdb").exists():
        return _lmdb(path)
    if path.is_dir():
        names = _images_among(file.relative_to(path).as_posix() for file in path.rglob("*") if not file.is_dir())
        source = Source(names, lambda i: (path / names[i]).read_bytes(), path.name, str(path.resolve()))
    elif path.suffix.lower() == ".zip" and path.is_file():
        try:
            archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile:
            raise DataError(f"{path}: damaged, or no zip") from None
        names = _images_among(member.filename for member in archive.infolist() if not member.is_dir())
        source = Source(names, lambda i: archive.read(names[i]), path.name, str(path.resolve()))
    else:
        raise DataError(f"{path}: expected a folder of images, a .zip, or an LMDB folder")
    if not source.names:
        raise DataError(f"{path}: no images in it (looked for {', '.join(sorted(SUFFIXES))})")
    return source


def _images_among(names: Iterable[str]) -> list[str]:
    """Those that end like images, sorted; hidden files (macOS puts a ``._x.png`` beside each ``x.png``) are none."""
    return sorted(n for n in names if Path(n).suffix.lower() in SUFFIXES and not Path(n).name.startswith("."))


def _lmdb(path: Path) -> Source:
    """The LMDB of an LSUN category: values are encoded images."""
    try:
        import lmdb
    except ImportError:
        raise DataError(f"{path}: reading an LMDB needs the package lmdb: pip install lmdb") from None
    try:
        environment = lmdb.open(str(path), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise DataError(f"{path}: damaged, or no LMDB ({error})") from None
    found = (path / "data.mdb").stat().st_size
    stated = environment.stat()["psize"] * (environment.info()["last_pgno"] + 1)
    if found < stated:  # it is memory-mapped: reading beyond its end would kill the process
        raise DataError(f"{path}: cut short, data.mdb has {found:,} of {stated:,} bytes")
    with environment.begin() as transaction:
        keys = [bytes(key) for key in transaction.cursor().iternext(keys=True, values=False)]

    def read(i: int) -> bytes:
        with environment.begin() as transaction:
            return transaction.get(keys[i]) or b""

    return Source([key.decode("ascii", "replace") for key in keys], read, path.name, str(path.resolve()))


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


def decode(source: Source, i: int) -> Image.Image:
    """Image i, in RGB.

    Raises:
        DataError: it is damaged or not there; the message names it.
    """
    try:
        content = source.read(i)
        if isinstance(content, np.ndarray):
            return Image.fromarray(content)
        with Image.open(io.BytesIO(content)) as image:
            return image.convert("RGB")
    except UnidentifiedImageError:
        raise DataError(f"{source.names[i]}: damaged, or no image") from None
    except Exception as error:  # zipfile, zlib, lmdb and Pillow's formats raise many kinds
        raise DataError(f"{source.names[i]}: cannot be read ({error})") from None


def write_split(path: Path, source: Source, chosen: list[int], crop: str, size: int) -> str:
    """Write the chosen images as an array file, after those that it holds; returns the SHA-256 of their bytes.

    Images are appended, and only whole ones count when it goes on, so neither a kill nor a full disk leaves a gap.

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
            for i in tqdm(chosen[done:], initial=done, total=len(chosen), desc=path.stem, unit="img"):
                file.write(crop_and_resize(decode(source, i), crop, size).tobytes())
            file.flush()
            os.fsync(file.fileno())
            file.seek(start)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}); run again to go on") from None


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
        if not number.isdecimal():
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
    info |= {f"{split}_images": len(chosen) for split, chosen in splits.items()}
    _go_on_or_start_anew(folder, info | {"images": _identity(source, splits)})
    for split, chosen in splits.items():
        info[f"{split}_sha256"] = write_split(folder / f"{split}.npy", source, chosen, crop, size)
        if labels:
            np.save(folder / f"{split}_labels.npy", np.asarray(labels[split], dtype=np.int64))
    write_json(folder / "dataset.json", info)
    (folder / "dataset.json.part").unlink(missing_ok=True)


def _identity(source: Source, splits: dict[str, list[int]]) -> str:
    """SHA-256 of where the images lie and which of them make up which split, by name and order."""
    digest = hashlib.sha256(repr(source.place).encode())
    for split, chosen in splits.items():
        digest.update(repr((split, [source.names[i] for i in chosen])).encode())
    return digest.hexdigest()


def _go_on_or_start_anew(folder: Path, plan: dict[str, Any]) -> None:
    """Keep the arrays of an interrupted preparation with the same plan; delete those of any other."""
    record = folder / "dataset.json.part"
    try:
        earlier = dict(json.loads(record.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        earlier = {}
    if earlier == plan:
        return
    for key in earlier | plan:
        if key.endswith("_images"):
            (folder / f"{key.removesuffix('_images')}.npy").unlink(missing_ok=True)
    write_json(record, plan)


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
