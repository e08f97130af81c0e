import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.evaluate import main
from tests.benchmark.metrics.dataset import draw_images, write_dataset

EXAMPLE = ["--import", "benchmark.metrics.checks.registered", "--extractor", "torch-fidelity:example"]
Run = Callable[..., tuple[int, dict[str, dict[str, float]]]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder)
    np.savez(folder / "new.npz", draw_images(np.random.default_rng(7), 150)[0])
    np.savez(folder / "copies.npz", np.load(folder / "tiny" / "train.npy")[:150])
    return folder


@pytest.fixture
def run(root: Path, tmp_path: Path) -> Run:
    def call(*arguments: str) -> tuple[int, dict[str, dict[str, float]]]:
        out = tmp_path / "out.json"
        options = ["--problem", "tiny", "--data", str(root), "--cache", str(root / "cache"), "--out", str(out)]
        code = main([*EXAMPLE, "--classifier", "torch-fidelity:example", *options, *arguments])
        return code, json.loads(out.read_text())["metrics"] if out.exists() else {}

    return call


def test_all_metrics_of_a_file_of_images(run: Run, root: Path) -> None:
    code, new = run(str(root / "new.npz"))
    assert code == 0
    name = "torch-fidelity:example"
    assert {f"fd[{name}]", f"kd[{name}]", f"precision[{name}]", f"is[{name}]", "mmr@0.2", "duplicates"} <= set(new)
    assert new["copy_share"]["value"] < 0.1 and new["duplicates"]["value"] == 0
    assert new[f"kd[{name}]"]["low"] <= 0 <= new[f"kd[{name}]"]["high"]
    _, copied = run(str(root / "copies.npz"))
    assert copied["copy_share"]["value"] == 1 == copied[f"copy_share[{name}]"]["value"]
    assert copied["ct"]["value"] < -3 < new["ct"]["value"] and copied["authenticity"]["value"] == 0


def test_novelty_is_about_the_training_split_whatever_the_reference(run: Run, root: Path) -> None:
    _, values = run(str(root / "copies.npz"), "--split", "test", "--metrics", "novelty")
    assert values["copy_share"]["value"] == 1 and "300 training examples" in values["copy_share"]["note"]


def test_without_held_out_images_novelty_alone_is_left_out(
    run: Run, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "data"
    shutil.copytree(root / "tiny", other / "tiny")
    (other / "tiny" / "test.npy").unlink()
    code, values = run(str(root / "new.npz"), "--data", str(other))
    assert code == 0 and "mmr@0.2" in values and "copy_share" not in values
    assert "left out: metric 'novelty' needs held-out images" in capsys.readouterr().err


def test_values_do_not_depend_on_the_batch(run: Run, root: Path) -> None:
    (_, some), (_, other) = (run(str(root / "new.npz"), "--batch", size) for size in ("7", "150"))
    for name, value in some.items():
        assert other[name]["value"] == pytest.approx(value["value"], rel=1e-5, abs=1e-9), name


def test_two_processes_give_the_numbers_of_one(run: Run, root: Path, tmp_path: Path) -> None:
    _, one = run(str(root / "new.npz"), "--metrics", "fd", "kd", "pr", "mode_mixture", "novelty")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "benchmark.evaluate"]
    out = tmp_path / "2.json"
    options = ["--problem", "tiny", "--data", str(root), "--cache", str(root / "cache"), "--out", str(out)]
    metrics = ["--metrics", "fd", "kd", "pr", "mode_mixture", "novelty", "--device", "cpu"]
    call = [*command, str(root / "new.npz"), *EXAMPLE, "--classifier", "torch-fidelity:example", *metrics, *options]
    done = subprocess.run(call, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    two = json.loads(out.read_text())["metrics"]
    assert two.keys() == one.keys()
    for name, value in one.items():
        assert two[name]["value"] == pytest.approx(value["value"], rel=1e-6, abs=1e-10), name


def test_paired_difference(run: Run, root: Path) -> None:
    images = np.load(root / "new.npz")["arr_0"]
    np.savez(root / "darker.npz", (images * 0.8).astype(np.uint8))
    _, values = run(str(root / "darker.npz"), "--against", str(root / "new.npz"), "--metrics", "fd")
    assert values["fd_difference[torch-fidelity:example]"]["low"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.npz"], "no such file or folder"),
        (["new.npz", "--metrics", "fdd"], "unknown metric 'fdd'; did you mean 'fd'"),
        (["new.npz", "--metrics", "fd", "--limit", "40"], "metric 'fd' needs at least 49 samples"),
        (["new.npz", "--metrics", "kd-subsets"], "needs at least 1000 samples"),
        (["large.npz"], "images are 20×20, those of tiny are 12×12"),
        (["new.npz", "--split", "valid"], "test, train"),
        (["new.npz", "--statistics", "new.npz"], "has arr_0, expected mu and sigma, or pool_3"),
        (["new.npz", "--device", "gpu"], "can't work on device 'gpu'"),
        (["new.npz", "--device", "cuda:99"], "can't work on device 'cuda:99'"),
        (["new.npz", "--import", "nosuchmodule"], "No module named 'nosuchmodule'"),
    ],
)
def test_mistakes_get_one_line_and_code_2(
    run: Run, root: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(root / "large.npz", draw_images(np.random.default_rng(0), 60, 20)[0])
    code, values = run(*[str(root / a) if a.endswith(".npz") else a for a in arguments])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2 and not values
    assert error.startswith("error: ") and message in error


def test_a_reference_of_fewer_images_than_features_is_refused(
    run: Run, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its covariance has no full rank, as that of such a sample has none."""
    shutil.copytree(root / "tiny", tmp_path / "data" / "tiny")
    np.save(tmp_path / "data" / "tiny" / "test.npy", np.load(root / "tiny" / "test.npy")[:48])
    (tmp_path / "data" / "tiny" / "dataset.json").write_text("{}")
    few = ["--split", "test", "--data", str(tmp_path / "data")]
    assert run(str(root / "new.npz"), "--metrics", "fd", *few)[0] == 2
    assert "'fd' needs a reference of at least 49, this one has 48" in capsys.readouterr().err
    assert run(str(root / "new.npz"), "--metrics", "kd", *few)[0] == 0


def test_unreadable_images_take_their_partners_along(run: Run, root: Path, tmp_path: Path) -> None:
    """As if neither had ever been there; pairs by place alone would all be wrong from the first broken file on."""
    images = np.load(root / "new.npz")["arr_0"]
    darker = (images * 0.8).astype(np.uint8)
    for name, part, broken in (("one", images, 2), ("other", darker, 140)):
        (tmp_path / name).mkdir()
        for i, image in enumerate(part):
            Image.fromarray(image).save(tmp_path / name / f"sample_{i}.png")
        (tmp_path / name / f"sample_{broken}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name, part in (("one", images), ("other", darker)):
        np.savez(tmp_path / f"{name}.npz", np.delete(part, [2, 140], 0))
    pair = [str(tmp_path / "one"), "--against", str(tmp_path / "other"), "--allow-unreadable"]
    whole = [str(tmp_path / "one.npz"), "--against", str(tmp_path / "other.npz")]
    key = "fd_difference[torch-fidelity:example]"
    found, expected = (run(*arguments, "--metrics", "fd")[1][key] for arguments in (pair, whole))
    assert "148 pairs by name, 2 images without a partner dropped" in str(found["note"])
    for name in ("value", "low", "high"):
        assert found[name] == pytest.approx(expected[name], rel=1e-6)


def test_what_was_done_with_odd_files_is_recorded(run: Run, root: Path, tmp_path: Path) -> None:
    images = np.load(root / "new.npz")["arr_0"][:60]
    (tmp_path / "odd").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image[..., 0].astype(np.uint16) * 257).save(tmp_path / "odd" / f"{i}.tif")
    (tmp_path / "odd" / ".hidden.png").write_bytes(b"x")
    out = tmp_path / "values.json"
    assert run(str(tmp_path / "odd"), "--metrics", "fd", "--out", str(out))[0] == 0
    record = json.loads(out.read_text())
    assert record["notes"] == ["1 hidden files left out", "formats: 60 TIFF", "60 with 16-bit grey, scaled to 8 bits"]
    assert record["reference"]["data_sha256"] and record["images"] == 60 == record["distinct"]


def test_a_place_that_cannot_be_written_is_said_before_the_work(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmark.evaluate.evaluate", lambda *_: pytest.fail("the work began"))
    assert run(str(root / "new.npz"), "--out", str(root / "new.npz" / "x.json"))[0] == 2
    assert "can't write to" in capsys.readouterr().err


def test_only_the_file_that_is_asked_for_is_written(run: Run, root: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.tmp").write_text("mine")
    assert run(str(root / "new.npz"), "--metrics", "fd", "--out", str(tmp_path / "new" / "notes.json"))[0] == 0
    assert (tmp_path / "notes.tmp").read_text() == "mine"
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["notes.json"]
