"""Files are written whole or not at all."""

import errno
import json
import math

import pytest

from benchmark.records.files import replacing, write_json, write_text


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "σ = 1\n")
    write_text(path, "σ = 2\n")
    assert path.read_bytes() == "σ = 2\n".encode()
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt(), OSError(errno.ENOSPC, "disk full")])
def test_an_error_while_writing_keeps_the_old_file(tmp_path, error):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(type(error)) as raised, replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    if isinstance(error, OSError):
        assert (raised.value.filename, raised.value.strerror) == (str(path), "disk full")


def test_no_file_stands_under_its_name_before_it_is_whole(tmp_path):
    with replacing(tmp_path / "record.json") as temporary:
        temporary.write_text("{")
        assert not list(tmp_path.glob("*.json"))
        temporary.write_text("{}")
    assert (tmp_path / "record.json").read_text() == "{}"


def test_json_has_null_for_what_json_does_not_have(tmp_path):
    write_json(tmp_path / "a.json", {"σ": [1.5, math.nan, (math.inf, {"x": -math.inf})], "n": 3})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"σ": [1.5, None, [None, {"x": None}]], "n": 3}
    assert "σ" in text and text.endswith("}\n")
