"""Hashes of contents follow every change, and are not computed twice for what has not changed."""

import hashlib
import os
import time

import numpy as np
import pytest

from benchmark.records import hashes
from benchmark.records.hashes import array_sha256, file_sha256


@pytest.fixture
def reads(tmp_path, monkeypatch):
    """The files that were read, each time one was; nothing is remembered from before, and every size counts."""
    done = []

    def watched(way):
        original = hashes._WAYS[way]

        def read(path):
            done.append(path.name)
            return original(path)

        return read

    monkeypatch.setattr(hashes, "_WAYS", {way: watched(way) for way in hashes._WAYS})
    monkeypatch.setattr(hashes, "SMALL", 0)
    monkeypatch.setenv("DPMOT_CACHE", str(tmp_path / "cache"))
    hashes._remembered.cache_clear()
    yield done
    hashes._remembered.cache_clear()


def old(path, content):
    """Write a file that was last changed a while ago, as far as one may set that."""
    path.write_bytes(content)
    os.utime(path, (1e9, 1e9))
    return path


def test_a_file_is_read_once_as_long_as_it_is_the_same(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(hashes, "SETTLED", -1)
    file = old(tmp_path / "a", b"content")
    for _ in range(3):
        hashes._remembered.cache_clear()  # as in another process
        assert file_sha256(file) == hashlib.sha256(b"content").hexdigest()
    assert reads == ["a"]


def test_every_change_is_seen(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(hashes, "SETTLED", -1)
    file = old(tmp_path / "a", b"content")
    before = file_sha256(file)
    hashes._remembered.cache_clear()
    time.sleep(0.05)
    old(file, b"CONTENT")  # of the same size, and dated back
    assert file_sha256(file) == hashlib.sha256(b"CONTENT").hexdigest() != before
    old(tmp_path / "b", b"another").replace(file)
    assert file_sha256(file) == hashlib.sha256(b"another").hexdigest()


def test_what_has_just_changed_is_not_kept(tmp_path, reads):
    """Within the clock's grain a second change of the same size would not show."""
    (tmp_path / "a").write_bytes(b"content")
    for _ in range(2):
        hashes._remembered.cache_clear()
        file_sha256(tmp_path / "a")
    assert reads == ["a", "a"]


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"identity": 1}', b"\xff"])
def test_a_damaged_note_is_none(tmp_path, reads, monkeypatch, damage):
    monkeypatch.setattr(hashes, "SETTLED", -1)
    file = old(tmp_path / "a", b"content")
    file_sha256(file)
    (note,) = (tmp_path / "cache" / "hashes").iterdir()
    note.write_bytes(damage)
    hashes._remembered.cache_clear()
    assert file_sha256(file) == hashlib.sha256(b"content").hexdigest() and reads == ["a", "a"]


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(hashes, "SETTLED", -1)
    (tmp_path / "cache").write_bytes(b"a file where the folder would be")
    assert file_sha256(old(tmp_path / "a", b"content")) == hashlib.sha256(b"content").hexdigest()


def test_arrays_count_by_their_values_in_order(tmp_path, reads):
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    np.save(tmp_path / "c.npy", array)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(array))
    expected = hashlib.sha256(array.tobytes()).hexdigest()
    assert array_sha256(tmp_path / "c.npy") == array_sha256(tmp_path / "fortran.npy") == expected
