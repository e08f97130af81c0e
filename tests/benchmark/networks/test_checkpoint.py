"""Checkpoints: what is written is read back; what can't be used is refused in one line."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmark.networks.checkpoint import (
    CheckpointError,
    load_classifier,
    load_denoiser,
    read_checkpoint,
    save_network,
    sha256,
)
from benchmark.networks.classifier import Classifier, ClassifierConfig
from benchmark.networks.unet import UNet, UNetConfig

TINY = UNetConfig(image_channels=1, channels=(8, 16), blocks=(1, 1), attention=(1,), embedding=16)


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "tiny.safetensors"
    save_network(path, UNet(TINY), problem="digits", images_seen=12)
    return path


def rewrite(path, change_tensors=None, change_metadata=None):
    """Write the checkpoint again after edits to its tensors and metadata."""
    tensors, metadata = read_checkpoint(path)
    for change, what in ((change_tensors, tensors), (change_metadata, metadata)):
        if change:
            change(what)
    save_file(tensors, path, metadata=metadata)


def test_round_trip_keeps_weights_architecture_and_metadata(checkpoint):
    torch.manual_seed(0)
    original = UNet(TINY).state_dict()
    denoiser = load_denoiser(checkpoint, sha256_expected=sha256(checkpoint))
    assert denoiser.network.config == TINY and not denoiser.training
    for name, tensor in denoiser.network.state_dict().items():
        assert torch.equal(tensor, original[name])
    assert read_checkpoint(checkpoint)[1]["images_seen"] == "12"
    assert [p.name for p in checkpoint.parent.iterdir()] == [checkpoint.name]


def test_half_precision_storage_rounds_and_nothing_else(tmp_path):
    network = Classifier(ClassifierConfig(1, 4, (8,)))
    save_network(tmp_path / "c.safetensors", network, dtype=torch.float16)
    loaded = load_classifier(tmp_path / "c.safetensors")
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, atol=1e-6, rtol=2**-11)


def test_a_large_network_is_cut_into_files_that_belong_together(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.networks.checkpoint.PART", 20_000)
    torch.manual_seed(0)
    network, path = UNet(TINY), tmp_path / "large.safetensors"
    save_network(path, network, problem="digits", images_seen=12)
    parts = sorted(tmp_path.glob("large.part*.safetensors"))
    assert parts and [p.name for p in parts] == [f"large.part{k}.safetensors" for k in range(2, 2 + len(parts))]
    loaded = load_denoiser(path).network.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in network.state_dict().items())
    hash_before = sha256(path)
    with torch.no_grad():
        list(network.parameters())[-1].add_(1)
    save_network(path, network, problem="digits", images_seen=12)
    assert sha256(path) != hash_before  # whatever part has changed
    parts[-1].write_bytes(parts[0].read_bytes()[:-1] + b"!")
    with pytest.raises(CheckpointError, match="is not the part"):
        load_denoiser(path)
    parts[-1].unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_denoiser(path)


def drop(tensors):
    del tensors["conv_in.weight"]


def add(tensors):
    tensors["stranger"] = torch.zeros(1)


def reshape(tensors):
    tensors["conv_in.weight"] = tensors["conv_in.weight"][:4].clone()


def poison(tensors):
    tensors["norm_out.scale"][0] = float("nan")


@pytest.mark.parametrize(
    ("tensors", "metadata", "said"),
    [
        (drop, None, "lacks tensor 'conv_in.weight'"),
        (add, None, "has unknown tensor 'stranger'"),
        (reshape, None, "has shape (4, 8, 3, 3), expected (8, 8, 3, 3)"),
        (poison, None, "not finite"),
        (None, lambda m: m.update(parts="[1"), "its parts are not named"),
        (None, lambda m: m.pop("format"), "foreign checkpoint"),
        (None, lambda m: m.update(architecture="classifier"), "expected a 'unet'"),
        (None, lambda m: m.update(config="{}}"), "bad configuration"),
        (None, lambda m: m.update(config='{"depth": 3}'), "bad configuration"),
        (None, lambda m: m.update(config='{"channels": [9]}'), "bad configuration"),
    ],
)
def test_unusable_contents_are_refused_in_one_line(checkpoint, tensors, metadata, said):
    rewrite(checkpoint, tensors, metadata)
    with pytest.raises(CheckpointError) as caught:
        load_denoiser(checkpoint)
    assert said in str(caught.value) and str(checkpoint) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_missing_and_other_files_are_refused(checkpoint, tmp_path):
    for damage in (lambda b: b[:100], lambda b: b[:-7], lambda b: b"", lambda b: b"\x00" * 64):
        broken = tmp_path / "broken.safetensors"
        broken.write_bytes(damage(checkpoint.read_bytes()))
        with pytest.raises(CheckpointError, match="damaged"):
            load_denoiser(broken)
    with pytest.raises(CheckpointError, match="no such file"):
        load_denoiser(tmp_path / "nowhere.safetensors")
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_denoiser(checkpoint, sha256_expected="0" * 64)
    with pytest.raises(CheckpointError, match="cannot be read"):
        sha256(tmp_path / "nowhere.safetensors")


def test_a_folder_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_network(tmp_path / "file" / "x.safetensors", UNet(replace(TINY)))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("path", sorted(Path("checkpoints").rglob("*.safetensors")), ids=str)
def test_shipped_checkpoints_load_and_say_what_remakes_them(path):
    assert path.stat().st_size <= 59 * 2**20
    if ".part" in path.name:
        return
    _, metadata = read_checkpoint(path)
    assert "benchmark.train" in metadata["command"] and int(metadata["images_seen"]) > 0
    (load_classifier if metadata["architecture"] == "classifier" else load_denoiser)(path)
    assert len(load_file(path)) > 10
