"""Preparations that are interrupted, resumed, or run out of disk end with the bytes of an undisturbed one."""

import resource

import numpy as np
import pytest
from PIL import Image

from benchmark.data import prepare
from benchmark.data.__main__ import main
from benchmark.data.arrays import DataError, open_images

NAME = "lsun_church64"
IMAGE = 64 * 64 * 3


def church(root, source, *arguments, test=0):
    return main(["prepare", "lsun-church", "--from", str(source), "--test", str(test), "--data", str(root), *arguments])


def files(root, name=NAME):
    """The contents of all arrays of a data set."""
    return {file.name: file.read_bytes() for file in (root / name).glob("*.npy")}


@pytest.fixture
def whole(pictures, tmp_path):
    """The arrays of a preparation that nothing disturbed."""
    assert church(tmp_path / "whole", pictures) == 0
    return files(tmp_path / "whole")


@pytest.fixture
def reads(monkeypatch):
    """The images read so far; the preparation is interrupted where as many as ``reads.limit`` have been read."""

    class Reads(list):
        limit = 99

    done, original = Reads(), prepare.decode

    def decode(source, i, how):
        if len(done) >= done.limit:
            raise KeyboardInterrupt
        done.append(source.names[i])
        return original(source, i, how)

    monkeypatch.setattr(prepare, "decode", decode)
    return done


@pytest.fixture
def other(tmp_path):
    """Twelve other pictures in a folder of the same name, with the file names of the first."""
    folder = tmp_path / "other" / "pictures"
    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    for number in [*range(1, 10), 162_771, 182_638, 182_639]:
        Image.fromarray(random.integers(0, 256, (80, 80, 3), dtype=np.uint8)).save(folder / f"{number:06d}.png")
    return folder


def test_the_same_command_goes_on_and_reads_nothing_twice(pictures, whole, tmp_path, reads):
    reads.limit = 6
    assert church(tmp_path, pictures) == 130
    with pytest.raises(DataError):
        open_images(NAME, tmp_path)
    reads.limit = 99
    assert church(tmp_path, pictures) == 0
    assert reads == sorted(file.name for file in pictures.iterdir())
    assert files(tmp_path) == whole
    assert sorted(file.name for file in (tmp_path / NAME).iterdir()) == ["dataset.json", "train.npy"]


def test_splits_that_are_whole_are_not_read_again(pictures, tmp_path, reads):
    command = ["prepare", "celeba", "--from", str(pictures), "--data"]
    assert main([*command, str(tmp_path / "whole")]) == 0
    for parts, code in ((9, 130), (10, 130), (99, 0)):  # before and after the only picture of `valid`
        reads.limit = 12 + parts
        assert main([*command, str(tmp_path / "parts")]) == code
    assert reads[12:] == reads[:12]
    assert files(tmp_path / "parts", "celeba64") == files(tmp_path / "whole", "celeba64")
    assert main(["list", "--check", "--data", str(tmp_path / "parts")]) == 0


def test_another_crop_in_between_leaves_nothing_behind(pictures, whole, tmp_path, reads):
    reads.limit = 6
    assert church(tmp_path, pictures) == 130
    reads.limit = 7
    assert church(tmp_path, pictures, "--crop", "none") == 130
    reads.limit = 99
    assert church(tmp_path, pictures) == 0
    assert files(tmp_path) == whole


def test_images_of_two_sources_are_not_mixed(pictures, whole, other, tmp_path, reads):
    reads.limit = 6
    assert church(tmp_path, other) == 130
    reads.limit = 99
    assert church(tmp_path, pictures) == 0
    assert files(tmp_path) == whole


def test_a_split_that_is_no_longer_asked_for_does_not_stay(pictures, whole, tmp_path, reads):
    reads.limit = 11
    assert church(tmp_path, pictures, test=2) == 130
    reads.limit = 99
    assert church(tmp_path, pictures) == 0
    assert files(tmp_path) == whole


@pytest.mark.parametrize("torn", [b"", b'{"crop": "cen', b"[]", b"\xff\xfe"])
def test_a_torn_record_is_none(pictures, whole, tmp_path, reads, torn):
    reads.limit = 6
    assert church(tmp_path, pictures) == 130
    records = [file for file in (tmp_path / NAME).iterdir() if file.read_bytes().startswith(b"{")]
    assert records
    for file in records:
        file.write_bytes(torn)
    reads.limit = 99
    assert church(tmp_path, pictures) == 0
    assert files(tmp_path) == whole


def test_json_files_are_written_as_a_whole_or_not_at_all(pictures, whole, tmp_path, monkeypatch):
    def dies_halfway(path, data):
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare.Path, "write_bytes", dies_halfway)
    assert church(tmp_path, pictures) == 130
    assert not any((tmp_path / NAME / name).exists() for name in ("dataset.json", "dataset.json.part"))
    monkeypatch.undo()
    assert church(tmp_path, pictures) == 0
    assert files(tmp_path) == whole


def test_a_full_disk_is_one_line_and_what_was_written_is_kept(pictures, whole, tmp_path, reads, capsys):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * IMAGE + IMAGE // 2, before[1]))  # four images and a half
    try:
        assert church(tmp_path, pictures) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and "cannot be written" in error
    read = len(reads)
    assert church(tmp_path, pictures) == 0
    assert len(reads) - read == 12 - 4
    assert files(tmp_path) == whole


def test_the_array_never_has_gaps_that_a_full_disk_would_turn_into_a_bus_error(pictures, tmp_path, monkeypatch):
    lengths, original = [], prepare.decode

    def decode(source, i, how):
        lengths.append(sum(file.stat().st_size for file in (tmp_path / NAME).glob("*.npy*")))
        return original(source, i, how)

    monkeypatch.setattr(prepare, "decode", decode)
    assert church(tmp_path, pictures) == 0
    assert all(length <= 128 + k * IMAGE for k, length in enumerate(lengths)) and len(lengths) == 12
