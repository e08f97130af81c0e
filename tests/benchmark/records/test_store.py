"""The store keeps what it is given, notices damage, and never writes half a file."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.bound.networks import networks_in
from benchmark.bound.runner import cells_in
from benchmark.records.record import SCHEMA, Record
from benchmark.records.rows import frame
from benchmark.records.store import (
    Store,
    StoreError,
    canonical,
    key_of,
    read_arrays,
    read_record,
    read_records,
    writable,
)

RESULTS = Path(__file__).resolve().parents[3] / "results"
values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())


def record(seed=0, status="ok", **metrics):
    config = {
        "problem": {"name": "mixture2d", "options": {"width": 0.1}, "fingerprint": {}},
        "sampler": {"name": "ddim", "options": {"eta": 0.0}, "version": 1},
        "nfe": 10,
        "seed": seed,
        "samples": 100,
    }
    return Record(
        key=key_of(config),
        config=config,
        changed={"eta": 0.5},
        status=status,
        nfe=10,
        fit={"seconds": 0.0, "info": {}},
        sampling={"seconds": 1.0, "samples_per_second": 100.0},
        metrics={name: {"value": value, "low": None, "high": None, "count": 100} for name, value in metrics.items()},
    )


@given(st.dictionaries(st.text(), values))
def test_key_does_not_depend_on_the_order_of_the_configuration(config):
    backwards = dict(reversed(config.items()))
    assert key_of(config) == key_of(backwards)
    assert json.loads(canonical(config)) == config


@given(st.dictionaries(st.text(), values, min_size=1), values)
def test_key_changes_with_any_value(config, value):
    name = next(iter(config))
    if canonical({"v": config[name]}) != canonical({"v": value}):
        assert key_of(config) != key_of({**config, name: value})


def test_a_record_comes_back_as_it_was_saved(tmp_path):
    store, saved = Store(tmp_path), record(w2=0.5)
    assert store.finished(saved.config) is None
    path = store.save(saved)
    assert Record.from_json(read_record(path)) == saved == store.finished(saved.config)
    assert [p.name for p in path.parent.iterdir()] == [path.name], "no temporary file is left"


def test_nan_is_stored_as_null(tmp_path):
    path = Store(tmp_path).save(record(w2=float("nan")))
    assert read_record(path)["metrics"]["w2"]["value"] is None


def test_a_failed_run_is_not_finished(tmp_path):
    store, failed = Store(tmp_path), record(status="failed")
    store.save(failed)
    assert store.finished(failed.config) is None
    assert frame(read_records(tmp_path)).empty


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"nfe": 10', '"nfe": 9', 1),
        lambda text: text.replace('"seconds"', '"secs"'),
        lambda text: text.replace('"w2": {', '"w2": 1, "x": {'),
        lambda text: text.replace('"fit": {', '"fit": null, "x": {'),
        lambda text: "[" * 100_000,
        lambda text: text.replace('"config": {', '"config": 3, "x": {'),
        lambda text: text.replace('"width": 0.1', '"width": NaN'),
    ],
    ids=["cut", "empty", "no record", "edited", "no seconds", "no estimate", "no fit", "deep", "config", "NaN"],
)
def test_a_damaged_record_is_named_and_set_aside_and_the_rest_is_read(tmp_path, capsys, damage):
    store = Store(tmp_path)
    store.save(record(seed=1, w2=1.0))
    path = store.save(record(seed=0, w2=0.5))
    path.write_text(damage(path.read_text()))
    assert [r.config["seed"] for r in read_records(tmp_path)] == [1]
    warning = capsys.readouterr().err
    assert warning.count("\n") == 1 and path.name in warning
    assert path.with_name(path.name + ".damaged").exists() and not path.exists()


def test_a_record_of_another_schema_is_named_and_stays(tmp_path, capsys):
    path = Store(tmp_path).save(record(w2=0.5))
    path.write_text(path.read_text().replace(f'"schema": {SCHEMA}', '"schema": 99'))
    assert not read_records(tmp_path) and path.exists()
    assert f"record of schema 99, this version reads {SCHEMA}; left out" in capsys.readouterr().err


def test_arrays_come_back_and_damaged_ones_count_as_missing(tmp_path):
    store, points = Store(tmp_path), np.arange(6.0).reshape(3, 2)
    store.save_arrays("k", samples=points)
    np.testing.assert_array_equal(read_arrays(tmp_path, "k")["samples"], points)
    (tmp_path / "samples" / "k.npz").write_bytes(b"PK\x03\x04 cut off")
    assert read_arrays(tmp_path, "k") is None
    assert read_arrays(tmp_path, "missing") is None


def test_a_folder_that_cannot_be_written_gives_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't write to the results folder") as error:
        writable(tmp_path / "file" / "results")
    assert "\n" not in str(error.value)


def test_frame_has_a_row_for_each_value(tmp_path):
    store = Store(tmp_path)
    for seed in (0, 1):
        store.save(record(seed=seed, w2=0.5 + seed, fd=2.0))
    table = frame(read_records(tmp_path))
    assert len(table) == 4
    row = table[(table.metric == "w2") & (table.seed == 1)].iloc[0]
    assert (row.value, row.label, row.problem_options) == (1.5, "ddim (eta=0.5)", "width=0.1")


def test_other_files_below_runs_are_left_alone(tmp_path, capsys):
    Store(tmp_path).save(record(w2=0.5))
    other = tmp_path / "runs" / "exp1" / "args.json"
    other.parent.mkdir()
    other.write_text("{")
    assert len(read_records(tmp_path)) == 1 and other.exists()
    assert not capsys.readouterr().err


@pytest.mark.parametrize("path", sorted((RESULTS / "runs").rglob("*.json"))[::20], ids=lambda path: path.stem[-12:])
def test_published_records_are_read_and_written_as_they_are(path, tmp_path):
    """All that a file holds, in its order."""
    content = json.loads(path.read_text())
    again = Store(tmp_path).save(Record.from_json(content))
    assert list(json.loads(again.read_text()).items()) == list(content.items())
    assert again.relative_to(tmp_path) == path.relative_to(RESULTS)


@pytest.mark.parametrize(
    "kept", [cells_in(RESULTS / "bound"), networks_in(RESULTS / "bound")], ids=["cells", "networks"]
)
def test_the_published_records_of_the_bound_are_found_under_their_configurations(kept):
    records = kept.read()
    assert len(records) == len(list(kept.folder.glob("*.json"))) > 0
    assert all(kept.find(record["config"]) == record for record in records)
