"""A small image data set on disk, in the project's layout, and extractors that need no weights."""

import json
from pathlib import Path

import numpy as np


def write_dataset(root: Path, name: str = "tiny", side: int = 12) -> Path:
    """Coloured gradients of two classes: 300 for training, 120 for testing."""
    rng, folder = np.random.default_rng(0), root / name
    folder.mkdir(parents=True)
    for split, count in (("train", 300), ("test", 120)):
        images, labels = draw_images(rng, count, side)
        np.save(folder / f"{split}.npy", images)
        np.save(folder / f"{split}_labels.npy", labels)
    (folder / "dataset.json").write_text(json.dumps({"source": "made for tests"}))
    return folder


def draw_images(rng: np.random.Generator, count: int, side: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [count, side, side, 3] and their classes."""
    labels = rng.integers(0, 2, count)
    ramp = np.linspace(-1, 1, side)
    slopes = rng.normal(size=(count, 2, 3)) + 2 * labels[:, None, None]
    field = slopes[:, :1, None] * ramp[:, None, None] + slopes[:, 1:, None] * ramp[None, :, None]
    pixels = 128 + 30 * field + 8 * rng.normal(size=(count, side, side, 3))
    return pixels.round().clip(0, 255).astype(np.uint8), labels
