"""Computed arrays are made once for each key, and a problem's long run is found again by a new process."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from benchmark.networks.checkpoint import save_network
from benchmark.networks.unet import UNet, UNetConfig
from benchmark.problems import make_problem
from benchmark.records.cache import cached
from samplers.errors import UserError
from samplers.latents import make_latents


def test_an_array_is_made_once_for_each_key(tmp_path):
    made = []

    def make():
        made.append(1)
        return np.arange(3) + len(made)

    first, again, other = (cached(tmp_path / "deep", "a:b", {"k": k}, make) for k in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other) and len(made) == 2
    assert len(list((tmp_path / "deep").glob("*.npy"))) == 2


def test_what_several_want_at_once_is_made_once(tmp_path):
    made = []

    def make():
        made.append(1)
        time.sleep(0.3)
        return np.arange(3) + len(made)

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: cached(tmp_path, "a", {}, make), range(3)))
    assert len(made) == 1 and all(np.array_equal(one, [1, 2, 3]) for one in found)


def test_the_models_long_run_is_kept_until_the_model_changes(tmp_path, monkeypatch):
    (tmp_path / "cifar10").mkdir()
    np.save(tmp_path / "cifar10" / "train.npy", np.zeros((4, 32, 32, 3), np.uint8))
    np.save(tmp_path / "cifar10" / "train_labels.npy", np.arange(4))
    (tmp_path / "cifar10" / "dataset.json").write_text("{}")
    monkeypatch.setenv("DPMOT_DATA", str(tmp_path))
    monkeypatch.setenv("DPMOT_CACHE", str(tmp_path / "cache"))

    def latents(width, count=2):
        torch.manual_seed(width)
        config = UNetConfig(channels=(width,), blocks=(1,), attention=(), middle_attention=False, embedding=16)
        checkpoint = tmp_path / f"{width}.safetensors"
        if not checkpoint.exists():
            save_network(checkpoint, UNet(config))
        problem = make_problem("cifar10", checkpoint=str(checkpoint))
        calls = []
        network = type(problem).denoiser
        monkeypatch.setattr(type(problem), "denoiser", lambda self, x, s: calls.append(1) or network(self, x, s))
        found = make_latents(problem, "model", count, 0.5, seed=0)
        monkeypatch.setattr(type(problem), "denoiser", network)
        return found, len(calls)

    (first, calls), (second, again), (_, other) = latents(8), latents(8), latents(16)
    assert (calls, again, other) == (35, 0, 35)
    assert torch.equal(first.clean, second.clean) and torch.equal(first.noised, second.noised)
    assert first.clean.shape == (2, 3, 32, 32)


def test_a_folder_that_cannot_be_written_names_the_variable(tmp_path):
    (tmp_path / "home").write_bytes(b"a file where the folder would be")
    with pytest.raises(UserError, match=r"home: cannot be written \(.*\): name another by DPMOT_CACHE"):
        cached(tmp_path / "home", "x", {}, lambda: np.zeros(3))


@pytest.mark.parametrize("damage", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_a_damaged_entry_is_set_aside_and_made_anew(tmp_path, capsys, damage):
    cached(tmp_path, "x", {}, lambda: np.arange(3))
    (entry,) = tmp_path.glob("x-*.npy")
    entry.write_bytes(damage)
    assert cached(tmp_path, "x", {}, lambda: np.arange(3)).tolist() == [0, 1, 2]
    assert "damaged" in capsys.readouterr().err and entry.with_name(entry.name + ".damaged").exists()
    assert cached(tmp_path, "x", {}, lambda: np.zeros(3)).tolist() == [0, 1, 2]
