"""Read anyone's images as bytes of RGB: a folder, an archive, an LMDB, a .npz or .npy array; in one pass, nothing kept.

What was done with files that could not simply be used as they are is said in notes, for whoever reads the numbers.
"""

import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.data.arrays import DataError
from benchmark.data.decoding import AS_STORED, FORMATS, Decoding, decode
from benchmark.data.sources import Source, check_expansion, open_source

Bytes = NDArray[np.uint8]
CHUNK = 1000  # images of an array that are looked at together


@dataclass(frozen=True)
class Images:
    """Images that are read as they are needed.

    Attributes:
        name: for messages.
        count: how many.
        size: (height, width).
        read: read(start, stop) -> uint8 [n, H, W, 3].
        names: one an image, to find pairs by; None in arrays, whose images have none.
        left_out: names of unreadable images that were left out.
        notes: what was done with what could not simply be used.
    """

    name: str
    count: int
    size: tuple[int, int]
    read: Callable[[int, int], Bytes]
    names: tuple[str, ...] | None = None
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def batches(self, batch: int, start: int = 0, stop: int | None = None) -> Iterator[Tensor]:
        """Images start..stop as uint8 [B, 3, H, W]."""
        end = self.count if stop is None else stop
        for first in range(start, end, batch):
            array = np.array(self.read(first, min(first + batch, end)))
            yield torch.from_numpy(array).permute(0, 3, 1, 2)


def read_images(
    path: Path,
    limit: int | None = None,
    allow_unreadable: bool = False,
    value_range: tuple[float, float] | None = None,
    how: Decoding = AS_STORED,
) -> Images:
    """Open the images at `path`; at most `limit` of them, the first in natural order of their names.

    Args:
        allow_unreadable: leave unreadable images out instead of refusing.
        value_range: the values that black and white have in an array of floats, (-1, 1) say.
        how: what to do where a file leaves a choice.

    Raises:
        DataError: nothing there, unreadable images, mixed sizes, an array of the wrong type, shape or range.
    """
    if path.is_dir() or path.suffix.lower() not in (".npy", ".npz"):
        return from_source(open_source(path), limit, allow_unreadable, how)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    return from_array(_load(path), str(path), limit, value_range)


def from_array(
    array: NDArray[np.generic], name: str, limit: int | None = None, value_range: tuple[float, float] | None = None
) -> Images:
    """Images [N, H, W, 3] or [N, 3, H, W] in an array: bytes, or floats of a stated range. Raises as `read_images`."""
    if array.ndim == 4 and array.shape[1] == 3 and array.shape[3] != 3:
        array = np.moveaxis(array, 1, 3)
    if array.ndim != 4 or array.shape[3] != 3 or 0 in array.shape:
        raise DataError(
            f"{name}: holds {array.dtype} {list(array.shape)}, expected images [N, H, W, 3] or [N, 3, H, W]"
        )
    notes = [f"the first {limit} of {len(array)} images"] if limit and limit < len(array) else []
    array = array[:limit]
    if array.dtype == np.uint8:
        if all(part.max() <= 1 for part in _parts(array)) and array.any():
            raise DataError(f"{name}: its bytes are 0 and 1 alone: floats that were cast before they were scaled?")
        return Images(name, len(array), array.shape[1:3], lambda a, b: np.asarray(array[a:b]), notes=tuple(notes))
    if array.dtype.kind != "f" or value_range is None:
        raise DataError(f"{name}: holds {array.dtype}; give uint8 in 0..255, or floats and --range LOW HIGH")
    low, high = value_range
    if clipped := _check_range(array, name, low, high):
        notes.append(f"{clipped:.2%} of the values lay outside of {low:g}..{high:g} and were clipped")

    def read(start: int, stop: int) -> Bytes:
        scaled = (np.asarray(array[start:stop], np.float64) - low) * (255 / (high - low))
        return scaled.round().clip(0, 255).astype(np.uint8)

    return Images(name, len(array), array.shape[1:3], read, notes=tuple(notes))


def _parts(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (array[start : start + CHUNK] for start in range(0, len(array), CHUNK))


def _check_range(array: NDArray[Any], name: str, low: float, high: float) -> float:
    """The share of values outside of low..high; raises where they cannot have this range."""
    if not low < high:
        raise DataError(f"--range takes the value of black and a higher one of white, got {low:g} {high:g}")
    broken, outside, least, most = 0, 0, np.inf, -np.inf
    for part in _parts(array):
        broken += int((~np.isfinite(part).all((1, 2, 3))).sum())
        outside += int(((part < low) | (part > high)).sum())
        least, most = min(least, float(part.min())), max(most, float(part.max()))
    if broken:
        raise DataError(f"{name}: {broken} of {len(array)} images hold NaN or infinite pixels")
    width = high - low
    wide = least < low - 0.5 * width or most > high + 0.5 * width
    if wide or most - least <= 0.5 * width:
        fault = "reach beyond" if wide else "fill at most half of"
        raise DataError(f"{name}: values from {least:.3g} to {most:.3g} {fault} --range {low:g} {high:g}: give theirs")
    return outside / array.size


def _load(path: Path) -> NDArray[np.generic]:
    """The array of a .npy, mapped, or the one of four axes in a .npz."""
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, mmap_mode="r")
        with zipfile.ZipFile(path) as archive:
            stacks = [member for member in archive.infolist() if len(_shape_inside(archive, member)) == 4]
            if len(stacks) != 1:
                held = ", ".join(member.filename.removesuffix(".npy") for member in stacks) or "none"
                raise DataError(f"holds {len(stacks)} arrays of four axes ({held}), expected one")
            check_expansion(stacks[0])
            with archive.open(stacks[0]) as file:
                return np.lib.format.read_array(file)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # zipfile, zlib and numpy raise many kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: no .npz or .npy of images that can be read ({reason})") from None


def _shape_inside(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[int, ...]:
    """Shape of an array in a .npz, () of what is no array; from its header alone, which must fit its size."""
    if not member.filename.endswith(".npy"):
        return ()
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
    if dtype.hasobject:
        return ()
    if dtype.itemsize * int(np.prod([int(n) for n in shape], dtype=object)) > member.file_size:
        raise DataError(f"'{member.filename}' states more values than it holds")
    return shape


def from_source(
    source: Source, limit: int | None = None, allow_unreadable: bool = False, how: Decoding = AS_STORED
) -> Images:
    """Image files; every one is decoded once beforehand, so that bad ones are known before work starts."""
    pool = ThreadPoolExecutor(8)
    indices = range(len(source.names))[:limit]
    looked = list(pool.map(lambda i: _look(source, i, how), indices))
    bad = {source.names[i]: found for i, found in zip(indices, looked, strict=True) if isinstance(found, DataError)}
    if bad and not allow_unreadable:
        named = ", ".join(PurePosixPath(name).name for name in list(bad)[:3]) + (", ..." if len(bad) > 3 else "")
        raise DataError(
            f"{source.described}: {len(bad)} of {len(indices)} images cannot be read ({named}: "
            f"{next(iter(bad.values()))}): --allow-unreadable leaves them out"
        )
    good = [i for i in indices if source.names[i] not in bad]
    seen = [found for found in looked if not isinstance(found, DataError)]
    sizes = Counter(size for size, _ in seen)
    if len(sizes) != 1:
        found = ", ".join(f"{count} of {h}×{w}" for (h, w), count in sizes.most_common(4)) or "none that can be read"
        raise DataError(f"{source.described}: images must be of one size, found {found}")

    def read(start: int, stop: int) -> Bytes:
        return np.stack(list(pool.map(lambda i: np.asarray(decode_image(source, i, how)[0]), good[start:stop])))

    notes = [*source.notes, *told(remark for _, remarks in seen for remark in remarks)]
    if len(indices) < len(source.names):
        notes.insert(0, f"the first {len(indices)} of {len(source.names)} images")
    if bad:
        notes.append(f"{len(bad)} images that cannot be read left out ({', '.join(list(bad)[:5])})")
    names = tuple(source.names[i] for i in good)
    return Images(source.described, len(good), next(iter(sizes)), read, names, tuple(bad), tuple(notes))


def told(remarks: Iterable[str]) -> list[str]:
    """Notes of the remarks on images: the formats if they are not all PNG, and all others with their numbers."""
    counts = Counter(remarks)
    formats = {name: counts.pop(name) for name in (*FORMATS, "MPO") if name in counts}
    notes = [f"{count} with {remark}" for remark, count in counts.most_common()]
    if formats.keys() - {"PNG"}:
        notes.insert(0, f"formats: {', '.join(f'{count} {name}' for name, count in formats.items())}")
    return notes


def decode_image(source: Source, i: int, how: Decoding = AS_STORED) -> tuple[Any, list[str]]:
    """Image i of a source in RGB (a Pillow image), and remarks.

    Raises:
        DataError: it is damaged or not there; the reason alone.
    """
    from PIL import Image

    content = source.read(i)
    if isinstance(content, np.ndarray):
        return Image.fromarray(content), []
    return decode(content, how)


def _look(source: Source, i: int, how: Decoding) -> tuple[tuple[int, int], list[str]] | DataError:
    """Height, width and remarks of an image; the error where it cannot be decoded to its end."""
    try:
        image, remarks = decode_image(source, i, how)
    except DataError as error:
        return error
    return (image.height, image.width), remarks
