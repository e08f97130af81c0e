"""Image data on disk.

A data set is a folder ``<root>/<name>`` of ``<split>.npy`` (uint8 ``[N, H, W, 3]``), ``<split>_labels.npy`` where
it has classes, and ``dataset.json`` (source, counts, hashes, crop).
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.records.hashes import array_sha256
from samplers.errors import UserError


class DataError(UserError):
    """Data that are missing or can't be used; the message is one line for the user."""


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Where data sets lie: ``root``, else ``$DPMOT_DATA``, else ``~/.cache/dpmot``."""
    return Path(root or os.environ.get("DPMOT_DATA") or Path.home() / ".cache" / "dpmot").expanduser()


@dataclass(frozen=True)
class ImageSet:
    """One data set on disk.

    Attributes:
        folder: ``<root>/<name>``.
        info: the contents of ``dataset.json``.
    """

    folder: Path
    info: dict[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def splits(self) -> list[str]:
        """The splits that are there, in alphabetical order."""
        files = sorted(self.folder.glob("*.npy"))
        return [file.stem for file in files if not file.stem.endswith("_labels")]

    def images(self, split: str) -> np.ndarray:
        """Images of a split, uint8 ``[N, H, W, 3]``, memory-mapped.

        Raises:
            DataError: there is no such split, or the file is damaged or no such array.
        """
        images = self._read(f"{split}.npy")
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            found = f"{images.dtype} {list(images.shape)}"
            raise DataError(f"{self.folder / split}.npy: holds {found}, expected uint8 [N, H, W, 3]")
        return images

    def labels(self, split: str) -> np.ndarray | None:
        """Class labels of a split, int64 ``[N]``; None where the data set has none."""
        if not (self.folder / f"{split}_labels.npy").exists():
            return None
        labels = np.asarray(self._read(f"{split}_labels.npy"))
        if labels.shape != (len(self.images(split)),) or labels.dtype.kind not in "iu":
            found = f"{labels.dtype} {list(labels.shape)}"
            raise DataError(f"{self.folder / split}_labels.npy: holds {found}, expected one integer an image")
        return labels.astype(np.int64)

    def sha256(self, split: str) -> str:
        """Hex SHA-256 of the images of a split.

        Raises:
            DataError: they are not there or damaged, or not those whose hash ``dataset.json`` states.
        """
        self.images(split)
        path = self.folder / f"{split}.npy"
        found, stated = array_sha256(path), self.info.get(f"{split}_sha256", "")
        if stated and stated != found:
            raise DataError(
                f"{path}: SHA-256 is {found[:16]}…, dataset.json states {str(stated)[:16]}…: others, or damaged"
            )
        return found

    def labels_sha256(self, split: str) -> str | None:
        """Hex SHA-256 of the labels of a split as int64; None where it has none."""
        labels = self.labels(split)
        return None if labels is None else hashlib.sha256(labels.tobytes()).hexdigest()

    def _read(self, file: str) -> np.ndarray:
        path = self.folder / file
        try:
            return np.lib.format.open_memmap(path, mode="r")
        except FileNotFoundError:
            splits = ", ".join(self.splits) or "none"
            raise DataError(f"{path}: not there; {self.name} has the splits: {splits}") from None
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path}: damaged ({error})") from None


def open_images(name: str, root: str | os.PathLike[str] | None = None) -> ImageSet:
    """The data set ``name`` under the data root.

    Raises:
        DataError: it is not there, or its ``dataset.json`` is damaged.
    """
    folder = data_root(root) / name
    try:
        info = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"{name}: no data in {folder}; give the data root by --data or DPMOT_DATA, "
            f"or run 'python -m benchmark.data prepare --help'"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / 'dataset.json'}: damaged ({error})") from None
    if not isinstance(info, dict):
        raise DataError(f"{folder / 'dataset.json'}: damaged (no JSON object)")
    return ImageSet(folder, info)
