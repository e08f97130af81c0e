"""Reading anyone's samples: a folder or zip of images, a .npz or .npy array; one pass, nothing kept."""

import io
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.metrics.base import MetricError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Images:
    """Images that are read as they are needed.

    Attributes:
        name: for messages.
        count: how many.
        size: (height, width).
        read: read(start, stop) -> uint8 [n, H, W, 3].
        left_out: names of unreadable images that were left out.
    """

    name: str
    count: int
    size: tuple[int, int]
    read: Callable[[int, int], Bytes]
    left_out: tuple[str, ...] = ()

    def batches(self, batch: int, start: int = 0, stop: int | None = None) -> Iterator[Tensor]:
        """Images start..stop as uint8 [B, 3, H, W]."""
        end = self.count if stop is None else stop
        for first in range(start, end, batch):
            array = np.array(self.read(first, min(first + batch, end)))
            yield torch.from_numpy(array).permute(0, 3, 1, 2)


def open_samples(
    path: Path, limit: int | None = None, allow_unreadable: bool = False, value_range: tuple[float, float] | None = None
) -> Images:
    """Open samples at `path`; at most `limit` of them.

    Args:
        allow_unreadable: leave unreadable images out instead of refusing.
        value_range: the values that black and white have in an array of floats, (-1, 1) say.

    Raises:
        MetricError: nothing there, unreadable images, mixed sizes, an array of the wrong type or shape, NaN pixels.
    """
    if path.is_dir():
        files = sorted(str(f) for f in path.rglob("*") if f.suffix.lower() in SUFFIXES)
        return _from_files(str(path), files, lambda f: Path(f).read_bytes(), limit, allow_unreadable)
    if not path.exists():
        raise MetricError(f"{path}: no such file or folder")
    if path.suffix == ".zip":
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise MetricError(f"{path}: no readable zip ({error})") from None
        files = sorted(f for f in archive.namelist() if Path(f).suffix.lower() in SUFFIXES)
        return _from_files(str(path), files, archive.read, limit, allow_unreadable)
    return from_array(_load(path), str(path), limit, value_range)


def from_array(
    array: NDArray[np.generic], name: str, limit: int | None = None, value_range: tuple[float, float] | None = None
) -> Images:
    """Images [N, H, W, 3] or [N, 3, H, W] in an array: bytes, or floats of a stated range. Raises as `open_samples`."""
    if array.ndim == 4 and array.shape[1] == 3 and array.shape[3] != 3:
        array = np.moveaxis(array, 1, 3)
    if array.ndim != 4 or array.shape[3] != 3:
        raise MetricError(
            f"{name}: holds {array.dtype} {list(array.shape)}, expected images [N, H, W, 3] or [N, 3, H, W]"
        )
    array = array[:limit]
    if array.dtype == np.uint8:
        return Images(name, len(array), array.shape[1:3], lambda a, b: np.asarray(array[a:b]))
    if array.dtype.kind != "f" or value_range is None:
        raise MetricError(f"{name}: holds {array.dtype}; give uint8 in 0..255, or floats and --range LOW HIGH")
    broken = int((~np.isfinite(array).all((1, 2, 3))).sum())
    if broken:
        raise MetricError(f"{name}: {broken} of {len(array)} images hold NaN or infinite pixels")
    low, high = value_range
    if array.min() < low - 0.5 * (high - low) or array.max() > high + 0.5 * (high - low):
        raise MetricError(
            f"{name}: values from {array.min():.3g} to {array.max():.3g} don't fit --range {low:g} {high:g}"
        )

    def read(start: int, stop: int) -> Bytes:
        scaled = (np.asarray(array[start:stop], np.float64) - low) * (255 / (high - low))
        return scaled.round().clip(0, 255).astype(np.uint8)

    return Images(name, len(array), array.shape[1:3], read)


def _load(path: Path) -> NDArray[np.generic]:
    try:
        loaded = np.load(path, mmap_mode="r")
        if isinstance(loaded, np.ndarray):
            return loaded
        stacks = {key: loaded[key] for key in loaded.files if loaded[key].ndim == 4}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise MetricError(f"{path}: no folder, zip, .npz or .npy of images ({str(error).splitlines()[0]})") from None
    if len(stacks) != 1:
        raise MetricError(
            f"{path}: holds {len(stacks)} arrays of four axes ({', '.join(stacks) or 'none'}), expected one"
        )
    return next(iter(stacks.values()))


def _from_files(
    name: str, files: list[str], fetch: Callable[[str], bytes], limit: int | None, allow_unreadable: bool
) -> Images:
    """Image files; every one is decoded once beforehand, so that bad ones are known before work starts."""
    if not files:
        raise MetricError(f"{name}: holds no images ({', '.join(sorted(SUFFIXES))})")
    pool = ThreadPoolExecutor(8)
    files = files[:limit]
    shapes = dict(zip(files, pool.map(lambda file: _shape(fetch(file)), files), strict=True))
    bad = tuple(f for f in files if shapes[f] is None)
    if bad and not allow_unreadable:
        named = ", ".join(Path(f).name for f in bad[:3]) + (", ..." if len(bad) > 3 else "")
        raise MetricError(
            f"{len(bad)} of {len(files)} images cannot be read ({named}): --allow-unreadable leaves them out"
        )
    good = [f for f in files if shapes[f] is not None]
    sizes = {shapes[f] for f in good}
    if len(sizes) != 1:
        found = ", ".join(f"{h}×{w}" for h, w in sorted(s for s in sizes if s)[:4]) or "none readable"
        raise MetricError(f"{name}: images must be of one size, found {found}")

    def read(start: int, stop: int) -> Bytes:
        return np.stack(list(pool.map(lambda file: _decode(fetch(file)), good[start:stop])))

    size = sizes.pop()
    assert size is not None
    return Images(name, len(good), size, read, bad)


def _decode(data: bytes) -> Bytes:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _shape(data: bytes) -> tuple[int, int] | None:
    """Height and width, None where the image can't be decoded to its end."""
    try:
        return _decode(data).shape[:2]
    except Exception:  # PIL raises many kinds on damaged files
        return None
