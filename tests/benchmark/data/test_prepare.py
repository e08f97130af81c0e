"""Preparing data: folders, zips and LMDBs give the same arrays as Pillow alone; bad input."""

import json
import sys
import types
import zipfile

import numpy as np
import pytest
from PIL import Image

from benchmark.data.__main__ import main
from benchmark.data.arrays import DataError, open_images
from benchmark.data.prepare import split_by_count


def run(root, *arguments):
    return main(["prepare", *map(str, arguments), "--data", str(root)])


def test_celeba_crop_and_partition_against_pillow(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(pictures)
    assert run(tmp_path / "data", "celeba", "--from", ".") == 0
    data = open_images("celeba64", tmp_path / "data")
    assert {split: len(data.images(split)) for split in data.splits} == {"train": 9, "valid": 1, "test": 2}
    with Image.open(pictures / "000003.png") as image:
        box = np.asarray(image)[121 - 64 : 121 + 64, 89 - 64 : 89 + 64]
    expected = Image.fromarray(box).resize((64, 64), Image.Resampling.LANCZOS)
    assert np.array_equal(data.images("train")[2], np.asarray(expected))
    assert data.info["crop"] == "celeba" and data.info["train_images"] == 9
    assert data.info["source"] == "pictures"


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
    assert found[0].shape == (12, 32, 32, 3) and any(np.array_equal(image, np.asarray(square)) for image in found[0])
    assert all(np.array_equal(found[0], other) for other in found[1:])


def test_folder_and_zip_have_the_same_order_and_leave_out_what_macos_adds(tmp_path):
    folder = tmp_path / "pictures"
    for k, name in enumerate(["a/1.png", "a-b/1.png", "a/2.png"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (k, 0, 0)).save(folder / name)
    (folder / "a" / "._1.png").write_bytes(b"resource fork")
    (folder / "folder.png").mkdir()
    with zipfile.ZipFile(tmp_path / "pictures.ZIP", "w") as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder))
    for source in (folder, tmp_path / "pictures.ZIP"):
        root = tmp_path / source.suffix.strip(".") / "data"
        assert run(root, "lsun-church", "--from", source, "--size", 8, "--test", 0) == 0
        assert open_images("lsun_church8", root).images("train")[:, 0, 0, 0].tolist() == [1, 0, 2]


def flip_a_byte_of_the_third(archive_file):
    """Damage the contents of the third member of a zip."""
    with zipfile.ZipFile(archive_file) as archive:
        third = archive.infolist()[2]
    content = bytearray(archive_file.read_bytes())
    content[third.header_offset + 30 + len(third.filename) + third.compress_size // 2] ^= 255
    archive_file.write_bytes(content)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_of_a_zip_is_named(pictures, tmp_path, capsys, compression):
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w", compression) as archive:
        for file in sorted(pictures.iterdir()):
            archive.write(file, file.name)
    flip_a_byte_of_the_third(tmp_path / "pictures.zip")
    assert run(tmp_path, "celeba", "--from", tmp_path / "pictures.zip") == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error: 000003.png: cannot be read (")


def test_a_missing_picture_is_named(pictures, tmp_path, capsys):
    (pictures / "000003.png").unlink()
    (pictures / "000003.png").symlink_to("nowhere.png")
    assert run(tmp_path, "celeba", "--from", pictures) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: 000003.png: cannot be read (") and "No such file" in error


@pytest.mark.parametrize(
    ("kept", "said"), [(0, "no LMDB"), (100, "no LMDB"), (9_000, "cut short"), (-4096, "cut short")]
)
def test_a_damaged_lmdb_is_one_line(pictures, tmp_path, capsys, kept, said):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(tmp_path / "lmdb"), map_size=2**24) as environment, environment.begin(write=True) as write:
        for file in pictures.iterdir():
            write.put(file.name.encode(), file.read_bytes())
    file = tmp_path / "lmdb" / "data.mdb"
    file.write_bytes(file.read_bytes()[:kept])
    assert run(tmp_path, "lsun-church", "--from", tmp_path / "lmdb", "--test", 0) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and said in error and len(error.splitlines()) == 1


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
    before = (tmp_path / "celeba64" / "train.npy").stat().st_mtime_ns
    assert run(tmp_path, "celeba") == run(tmp_path, "celeba", "--from", pictures, "--crop", "celeba") == 0
    assert capsys.readouterr().out.count("already there") == 2
    assert (tmp_path / "celeba64" / "train.npy").stat().st_mtime_ns == before
    (tmp_path / "celeba64" / "dataset.json").write_text("[]")
    assert run(tmp_path, "celeba", "--from", pictures) == 2
    assert main(["list", "--data", str(tmp_path)]) == 1
    assert "damaged (no JSON object)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--crop", "none"), "already there with crop 'centre', not 'none'"),
        (("--test", "3"), "already there with test_images '2', not '3'"),
        (("--from", "{pictures}", "--test", "3"), "already there with"),
        (("--from", "{fewer}", "--test", "2"), "already there with"),
        (("--from", "{renamed}", "--test", "2"), "already there with other images than --from names"),
        (
            ("--from", "{pictures}", "--test", "2", "--orientation", "upright"),
            "already there with orientation 'stored'",
        ),
        (("--from", "/nowhere"), "no such file or folder"),
    ],
)
def test_another_preparation_than_the_one_that_is_there_is_refused(pictures, tmp_path, capsys, arguments, said):
    """All that determines the data is compared: a message that they are there would be taken for these."""
    for name, files in (("fewer", 11), ("renamed", 12)):
        (tmp_path / name / "pictures").mkdir(parents=True)
        for file in sorted(pictures.iterdir())[:files]:
            target = file.name if name == "fewer" else f"x{file.name}"
            (tmp_path / name / "pictures" / target).write_bytes(file.read_bytes())
    places = {name: tmp_path / name / "pictures" for name in ("fewer", "renamed")} | {"pictures": pictures}
    assert run(tmp_path, "lsun-church", "--from", pictures, "--size", "8", "--test", "2") == 0
    again = [argument.format(**places) for argument in arguments]
    assert run(tmp_path, "lsun-church", "--size", "8", *again) == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]


def test_images_kept_apart_are_a_random_part_of_names_sorted_by_class():
    names = [f"{label}/{number:04d}.png" for label in "abcdefghij" for number in range(1000)]
    kept = split_by_count(names, 1000)["test"]
    classes = np.bincount([i // 1000 for i in kept], minlength=10)
    assert len(kept) == 1000 and classes.min() > 60 and classes.max() < 140  # ±4 deviations about 100
    first = [i for i in kept if i < 5000]
    assert first == split_by_count(names[:5000], len(first))["test"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("celeba",), "give --from PATH"),
        (("celeba", "--from", "/nowhere"), "expected a folder of images"),
        (("lsun-bedroom", "--from", "{pictures}"), "1000 test images were asked for"),
        (("lsun-bedroom", "--from", "{pictures}", "--size", "0", "--test", "1"), "--size must be at least 1"),
        (("lsun-bedroom", "--from", "{broken}", "--test", "0"), "x.png: damaged"),
        (("lsun-bedroom", "--from", "{square}", "--test", "0", "--crop", "celeba"), "178×218, got 32×32"),
        (("celeba", "--from", "{square}"), "²³.png: CelebA's files are named by number"),
        (("cifar10", "--size", "64"), "32×32"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(pictures, tmp_path, capsys, arguments, said):
    for name in ("broken", "square"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken" / "x.png").write_bytes(b"no image")
    Image.new("RGB", (32, 32)).save(tmp_path / "square" / "²³.png")
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
