"""Preparing data: folders, zips and LMDBs give the same arrays as Pillow alone; interruptions and damage."""

import json
import sys
import types
import zipfile

import numpy as np
import pytest
from PIL import Image

from benchmark.data import prepare
from benchmark.data.__main__ import main
from benchmark.data.arrays import DataError, open_images


@pytest.fixture
def pictures(tmp_path):
    """Twelve pictures of 178×218, named as CelebA's, of which the last three are beyond the training split."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in [*range(1, 10), 162_771, 182_638, 182_639]:
        pixels = random.integers(0, 256, (218, 178, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:06d}.png")
    return folder


def run(root, *arguments):
    return main(["prepare", *map(str, arguments), "--data", str(root)])


def test_celeba_crop_and_partition_against_pillow(pictures, tmp_path):
    assert run(tmp_path / "data", "celeba", "--from", pictures) == 0
    data = open_images("celeba64", tmp_path / "data")
    assert {split: len(data.images(split)) for split in data.splits} == {"train": 9, "valid": 1, "test": 2}
    with Image.open(pictures / "000003.png") as image:
        box = np.asarray(image)[121 - 64 : 121 + 64, 89 - 64 : 89 + 64]
    expected = Image.fromarray(box).resize((64, 64), Image.Resampling.LANCZOS)
    assert np.array_equal(data.images("train")[2], np.asarray(expected))
    assert data.info["crop"] == "celeba" and data.info["train_images"] == 9


def test_zip_folder_and_lmdb_give_the_same_arrays(pictures, tmp_path):
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for file in pictures.iterdir():
            archive.write(file, f"inside/{file.name}")
    sources = {"folder": pictures, "zip": tmp_path / "pictures.zip"}
    try:
        import lmdb
    except ImportError:
        pass
    else:
        sources["lmdb"] = tmp_path / "lmdb"
        with lmdb.open(str(sources["lmdb"]), map_size=2**24) as environment, environment.begin(write=True) as write:
            for file in sorted(pictures.iterdir()):
                write.put(file.name.encode(), file.read_bytes())
    found = []
    for name, source in sources.items():
        assert run(tmp_path / name, "lsun-bedroom", "--from", source, "--size", 32, "--test", 2) == 0
        data = open_images("lsun_bedroom32", tmp_path / name)
        found.append(np.concatenate([data.images("train"), data.images("test")]))
    with Image.open(pictures / "000001.png") as image:
        square = image.crop((0, 20, 178, 198)).resize((32, 32), Image.Resampling.LANCZOS)
    assert found[0].shape == (12, 32, 32, 3) and np.array_equal(found[0][0], np.asarray(square))
    assert all(np.array_equal(found[0], other) for other in found[1:])


def test_an_interrupted_preparation_goes_on_and_ends_with_the_same_bytes(pictures, tmp_path, monkeypatch):
    assert run(tmp_path / "whole", "lsun-church", "--from", pictures, "--test", 0) == 0
    monkeypatch.setattr(prepare, "SAVE_EVERY", 2)
    read, original = [], prepare.decode

    def dies_at_the_seventh(source, i):
        if len(read) == 6:
            raise KeyboardInterrupt
        read.append(i)
        return original(source, i)

    monkeypatch.setattr(prepare, "decode", dies_at_the_seventh)
    assert run(tmp_path / "parts", "lsun-church", "--from", pictures, "--test", 0) == 130
    with pytest.raises(DataError):
        open_images("lsun_church64", tmp_path / "parts")
    monkeypatch.setattr(prepare, "decode", lambda source, i: read.append(i) or original(source, i))
    assert run(tmp_path / "parts", "lsun-church", "--from", pictures, "--test", 0) == 0
    assert read == list(range(12))  # nothing was read twice
    files = [tmp_path / name / "lsun_church64" for name in ("whole", "parts")]
    assert (files[0] / "train.npy").read_bytes() == (files[1] / "train.npy").read_bytes()
    assert sorted(p.name for p in files[1].iterdir()) == ["dataset.json", "train.npy"]


def test_list_shows_what_is_there_and_finds_damage(pictures, tmp_path, capsys):
    run(tmp_path, "celeba", "--from", pictures)
    assert main(["list", "--data", str(tmp_path), "--check"]) == 0
    assert "celeba64: test 2 of 64x64, train 9 of 64x64, valid 1 of 64x64; pictures" in capsys.readouterr().out
    file = tmp_path / "celeba64" / "train.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert main(["list", "--data", str(tmp_path), "--check"]) == 1
    assert "train: damaged" in capsys.readouterr().out
    file.write_bytes(content[:300])
    assert main(["list", "--data", str(tmp_path)]) == 1
    assert "damaged" in capsys.readouterr().out


def test_what_is_there_is_not_prepared_again(pictures, tmp_path, capsys):
    run(tmp_path, "celeba", "--from", pictures)
    assert run(tmp_path, "celeba", "--from", "/nowhere") == 0
    assert "already there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("celeba",), "give --from PATH"),
        (("celeba", "--from", "/nowhere"), "expected a folder of images"),
        (("lsun-bedroom", "--from", "{pictures}"), "1000 test images were asked for"),
        (("lsun-bedroom", "--from", "{pictures}", "--size", "0", "--test", "1"), "--size must be at least 1"),
        (("lsun-bedroom", "--from", "{broken}", "--test", "0"), "x.png: damaged"),
        (("lsun-bedroom", "--from", "{square}", "--test", "0", "--crop", "celeba"), "178×218, got 32×32"),
        (("cifar10", "--size", "64"), "32×32"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(pictures, tmp_path, capsys, arguments, said):
    for name in ("broken", "square"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "x.png").write_bytes(b"no image")
    Image.new("RGB", (32, 32)).save(tmp_path / "square" / "x.png")
    places = {"pictures": pictures, "broken": tmp_path / "broken", "square": tmp_path / "square"}
    assert run(tmp_path / "data", *[a.format(**places) for a in arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and said in error
    assert not list((tmp_path / "data").glob("*/dataset.json"))


class TinyCifar:
    """Stands in for torchvision's class, whose archive is too large for a test: 3 training images and 2 others."""

    def __init__(self, root, train, download):
        if not download:
            raise RuntimeError("Dataset not found or corrupted.\nMore words.")
        self.targets = [3, 1, 2] if train else [9, 8]
        self.data = np.random.default_rng(train).integers(0, 256, (len(self.targets), 32, 32, 3), dtype=np.uint8)


def test_cifar10_from_torchvision_keeps_order_and_labels(tmp_path, monkeypatch, capsys):
    datasets = types.SimpleNamespace(CIFAR10=TinyCifar)
    monkeypatch.setitem(sys.modules, "torchvision", types.SimpleNamespace(datasets=datasets))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)
    assert run(tmp_path, "cifar10", "--from", tmp_path) == 2
    assert "cannot read or download it (Dataset not found or corrupted.)" in capsys.readouterr().err
    assert run(tmp_path, "cifar10") == 0
    data = open_images("cifar10", tmp_path)
    for split, labels in (("train", [3, 1, 2]), ("test", [9, 8])):
        assert np.array_equal(data.images(split), TinyCifar("", split == "train", True).data)
        assert data.labels(split).tolist() == labels


def test_ready_made_arrays_are_used_as_they_are_and_wrong_ones_refused(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps({"source": "made here"}))
    images = np.arange(5 * 4 * 4 * 3, dtype=np.uint8).reshape(5, 4, 4, 3)
    np.save(folder / "train.npy", images)
    np.save(folder / "train_labels.npy", np.arange(5))
    data = open_images("mine", tmp_path)
    assert np.array_equal(data.images("train"), images) and data.labels("train").tolist() == [0, 1, 2, 3, 4]
    assert data.splits == ["train"]
    with pytest.raises(DataError, match="splits: train"):
        data.images("test")
    np.save(folder / "train.npy", images.astype(np.float32))
    with pytest.raises(DataError, match="expected uint8"):
        data.images("train")
    np.save(folder / "train.npy", images[:4])
    with pytest.raises(DataError, match="one integer an image"):
        data.labels("train")
