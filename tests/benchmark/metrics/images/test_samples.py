import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.metrics.base import MetricError
from benchmark.metrics.images.samples import open_samples

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 10, 12, 3), dtype=np.uint8)


def read(path: Path, **options: object) -> np.ndarray:
    batches = list(open_samples(path, **options).batches(3))  # type: ignore[arg-type]
    assert all(batch.dtype == torch.uint8 and batch.shape[1] == 3 for batch in batches)
    return torch.cat(batches).permute(0, 2, 3, 1).numpy()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, image in enumerate(PIXELS):
        (tmp_path / "images" / "deep").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / "deep" / f"{i}.png")
    return tmp_path / "images"


def test_folder_and_zip(folder: Path) -> None:
    np.testing.assert_array_equal(read(folder), PIXELS)
    with zipfile.ZipFile(folder.parent / "a.zip", "w") as archive:
        for file in folder.rglob("*.png"):
            archive.write(file, file.name)
    np.testing.assert_array_equal(read(folder.parent / "a.zip"), PIXELS)
    np.testing.assert_array_equal(read(folder, limit=4), PIXELS[:4])


def test_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", samples=PIXELS, labels=np.arange(7))
    np.save(tmp_path / "b.npy", PIXELS.transpose(0, 3, 1, 2))
    np.save(tmp_path / "c.npy", PIXELS.astype(np.float32) / 127.5 - 1)
    for name in ("a.npz", "b.npy"):
        np.testing.assert_array_equal(read(tmp_path / name), PIXELS)
    np.testing.assert_array_equal(read(tmp_path / "c.npy", value_range=(-1.0, 1.0)), PIXELS)


def test_unreadable_images_are_named_counted_and_refused_unless_allowed(folder: Path) -> None:
    (folder / "deep" / "3.png").write_bytes((folder / "deep" / "3.png").read_bytes()[:60])
    (folder / "deep" / "5.png").write_bytes(b"")
    with pytest.raises(MetricError, match=r"2 of 7 images cannot be read \(3.png, 5.png\): --allow-unreadable"):
        open_samples(folder)
    images = open_samples(folder, allow_unreadable=True)
    assert (images.count, [Path(f).name for f in images.left_out]) == (5, ["3.png", "5.png"])
    np.testing.assert_array_equal(read(folder, allow_unreadable=True), PIXELS[[0, 1, 2, 4, 6]])


def test_mixed_sizes(folder: Path) -> None:
    Image.new("RGB", (5, 6)).save(folder / "odd.png")
    with pytest.raises(MetricError, match="one size, found 6×5, 10×12"):
        open_samples(folder)


def test_bad_arrays(tmp_path: Path) -> None:
    floats = PIXELS.astype(np.float32)
    cases = {
        "flat": (PIXELS[0], r"expected images \[N, H, W, 3\]"),
        "floats": (floats, "--range LOW HIGH"),
        "beyond": (floats * 100, "don't fit --range"),
        "nan": (np.where(floats == floats[2, 3, 4, 1], np.nan, floats / 255), "images hold NaN or infinite pixels"),
    }
    for name, (array, message) in cases.items():
        np.save(tmp_path / f"{name}.npy", array)
        with pytest.raises(MetricError, match=message):
            open_samples(tmp_path / f"{name}.npy", value_range=None if name == "floats" else (0.0, 1.0))
    np.savez(tmp_path / "two.npz", a=PIXELS, b=PIXELS)
    with pytest.raises(MetricError, match=r"holds 2 arrays of four axes \(a, b\)"):
        open_samples(tmp_path / "two.npz")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match="no such file or folder"):
        open_samples(tmp_path / "none")
    with pytest.raises(MetricError, match="holds no images"):
        open_samples(tmp_path)
    (tmp_path / "x.npz").write_text("text")
    with pytest.raises(MetricError, match="no folder, zip"):
        open_samples(tmp_path / "x.npz")
