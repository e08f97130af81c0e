"""A run's key covers its outcome: it changes with everything that is read, and with nothing else."""

import json
import os
import shutil
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmark.metrics.extractors import Extractor
from benchmark.metrics.images.reference import Reference
from benchmark.metrics.registry import METRICS
from benchmark.networks.checkpoint import save_network
from benchmark.networks.unet import UNet, UNetConfig
from benchmark.problems import images as image_problems
from benchmark.problems.cifar10 import Cifar10
from benchmark.running.execute import Executor, Settings
from benchmark.running.plan import Case, make_plan
from samplers.ddim import DDIM
from samplers.errors import UserError
from samplers.registry import Entry

GIVEN = {"references": 20, "neighbours": 12, "shard": 12}


def write_images(folder, seed=0):
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", 24), ("test", 12)):
        np.save(folder / f"{split}.npy", random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8))
        np.save(folder / f"{split}_labels.npy", np.arange(count) % 10)
    (folder / "dataset.json").write_text("{}")


def small_extractor():
    return Extractor("small", "abc", "none", 2, lambda images: (images.mean((2, 3))[:, :2], None), torch.device("cpu"))


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Data that state no hash, a denoiser, and a classifier that may be changed."""
    write_images(tmp_path / "data" / "cifar10")
    torch.manual_seed(0)
    config = UNetConfig(channels=(8,), blocks=(1,), attention=(), middle_attention=False, embedding=16)
    save_network(tmp_path / "tiny.safetensors", UNet(config))
    shutil.copy(image_problems.checkpoint("cifar10"), tmp_path / "classifier.safetensors")
    monkeypatch.setattr(image_problems, "checkpoint", lambda name: tmp_path / "classifier.safetensors")
    monkeypatch.setenv("DPMOT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DPMOT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def run(root, sampler="ddim", nfe=2, seed=0, samples=24, device="cpu", options=None, **problem):
    given = {"checkpoint": str(root / "tiny.safetensors"), **GIVEN, **problem}
    (found,) = make_plan([Case("cifar10", sampler, (nfe,), (seed,), samples, options or {}, given)], device).runs
    return found


def flip(path, place=-1):
    """Change one bit of a file without changing its size."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["train.npy", "test.npy", "train_labels.npy"])
def test_the_key_changes_with_the_content_of_data(root, file):
    before = run(root).key
    flip(root / "data" / "cifar10" / file, -8)
    assert run(root).key != before


@pytest.mark.parametrize("file", ["tiny.safetensors", "classifier.safetensors"])
def test_the_key_changes_with_the_weights_of_denoiser_and_classifier(root, file):
    before = run(root).key
    flip(root / file)
    assert run(root).key != before


def test_the_key_changes_with_the_weights_of_the_feature_network(root, monkeypatch):
    models = pytest.importorskip("torchvision.models")
    weights = root / "weights" / "mobilenet_v2_imagenet_features.safetensors"
    weights.parent.mkdir()
    monkeypatch.setenv("DPMOT_WEIGHTS", str(weights.parent))
    save_file(models.mobilenet_v2(weights=None).features.state_dict(), weights)
    before = run(root, extractor="mobilenet_v2").key
    tensors = load_file(weights)
    tensors["0.0.weight"][0, 0, 0, 0] += 1
    save_file(tensors, weights)
    assert run(root, extractor="mobilenet_v2").key != before != run(root).key


def test_the_key_changes_with_every_setting_of_a_pipeline_that_is_read(root):
    diffusers = pytest.importorskip("diffusers")
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "add_attention": False}
    network = diffusers.UNet2DModel(sample_size=32, layers_per_block=1, block_out_channels=(32,), **blocks)
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler()).save_pretrained(root / "pipeline")
    keys = [run(root, checkpoint=str(root / "pipeline")).key]
    for file, change in (
        ("scheduler/scheduler_config.json", {"beta_end": 0.03}),
        ("unet/config.json", {"norm_eps": 1e-3}),
    ):
        path = root / "pipeline" / file
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        keys.append(run(root, checkpoint=str(root / "pipeline")).key)
    flip(root / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors")
    keys.append(run(root, checkpoint=str(root / "pipeline")).key)
    assert len(set(keys)) == 4


def test_a_pipeline_that_cannot_be_used_is_refused_before_the_run(root):
    diffusers = pytest.importorskip("diffusers")
    blocks = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "add_attention": False}
    network = diffusers.UNet2DModel(sample_size=64, layers_per_block=1, block_out_channels=(32,), **blocks)
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler()).save_pretrained(root / "pipeline")
    with pytest.raises(UserError, match="a network for 64×64 pixels, these images have 32×32"):
        run(root, checkpoint=str(root / "pipeline"))
    assert run(root, checkpoint=f"{root / 'pipeline'}#any-size").key


@pytest.mark.parametrize(
    "changed",
    [
        {"nfe": 3},
        {"seed": 1},
        {"samples": 36},
        {"references": 21},
        {"neighbours": 13},
        {"shard": 6},
        {"options": {"eta": 0.5}},
        {"sampler": "random-latent"},
    ],
)
def test_the_key_changes_with_every_option(root, changed):
    assert run(root, **changed).key != run(root).key


def test_the_key_changes_with_the_targets(root):
    keys = [run(root, "random-latent", options={"targets": kind, "count": 12}).key for kind in ("train", "model")]
    keys.append(run(root, "random-latent", options={"targets": "train", "count": 11}).key)
    before = keys[0]
    flip(root / "data" / "cifar10" / "train.npy")
    assert len(set(keys)) == 3 and run(root, "random-latent", options={"targets": "train", "count": 12}).key != before


def test_the_key_changes_with_versions(root, monkeypatch):
    before = run(root).key
    monkeypatch.setattr(DDIM, "version", DDIM.version + 1)
    after = run(root).key
    metric = METRICS.lookup("fd").item
    monkeypatch.setattr(Cifar10, "metrics", ("fd",))
    fewer = run(root).key
    object.__setattr__(metric, "version", "another")
    try:
        raised = run(root).key
    finally:
        object.__setattr__(metric, "version", "1")
    assert len({before, after, fewer, raised}) == 4


def test_the_key_changes_with_the_code_of_another_package(root, monkeypatch, tmp_path):
    """Its author may forget to raise the version."""
    found, keys = run(root), []
    for text, package in (("", "theirs 1.0"), ("# an edit\n", "theirs 1.0"), ("# an edit\n", "theirs 1.1")):
        module = ModuleType("their_sampler")
        module.__file__ = str(tmp_path / "their_sampler.py")
        (tmp_path / "their_sampler.py").write_text(text + "VALUE = 1\n")
        monkeypatch.setitem(sys.modules, "their_sampler", module)
        entry = Entry("theirs", DDIM, "their_sampler", package)
        keys.append(replace(found, entry=entry).key)
    assert len({found.key, *keys}) == 4
    assert "plugins" not in found.config  # ours: published keys know nothing of it


def test_cached_features_of_a_reference_follow_its_content(root):
    data, extractor = Cifar10().data, small_extractor()
    before = Reference(data, "train", extractor, root / "cache").describe()
    flip(root / "data" / "cifar10" / "train.npy")
    assert Reference(data, "train", extractor, root / "cache").describe() != before


def test_a_stated_hash_that_the_content_does_not_have_is_refused(root):
    (root / "data" / "cifar10" / "dataset.json").write_text(json.dumps({"train_sha256": "0" * 64}))
    with pytest.raises(UserError, match=r"train\.npy: SHA-256 is .*…, dataset\.json states 0000000000000000…"):
        _ = run(root).key
    with pytest.raises(UserError, match="json states"):
        Reference(Cifar10().data, "train", small_extractor(), root / "cache").describe()


def test_the_key_stays_where_the_same_things_lie_elsewhere(root, monkeypatch, tmp_path):
    before = run(root).key
    (root / "data").rename(root / "moved")
    monkeypatch.setenv("DPMOT_DATA", str(root / "moved"))
    (root / "named").mkdir()
    other = shutil.copy(root / "tiny.safetensors", root / "named" / "run_a.pth")
    monkeypatch.chdir(root)
    paths = [str(other), "named/run_a.pth", "./named/../tiny.safetensors", os.path.relpath(other)]
    assert {run(root, checkpoint=path).key for path in paths} == {before}


def test_the_shipped_denoiser_has_one_key_whether_it_is_named_or_not(root, monkeypatch):
    monkeypatch.setattr(image_problems, "SHIPPED", root / "shipped")
    (root / "shipped" / "cifar10").mkdir(parents=True)
    shutil.copy(root / "tiny.safetensors", root / "shipped" / "cifar10" / "denoiser.safetensors")
    assert run(root, checkpoint="").key == run(root).key


def test_the_key_stays_with_the_order_of_options_and_the_device(root):
    before = run(root, options={"eta": 0.5, "grid": "edm"}).key
    assert run(root, options={"grid": "edm", "eta": 0.5}).key == before
    assert run(root, options={"eta": "0.5", "grid": "edm"}).key == before  # as the command line gives it
    assert run(root, options={"eta": 0.5, "grid": "edm"}, device="cuda").key == before
    reverse = dict(reversed([("checkpoint", str(root / "tiny.safetensors")), *GIVEN.items()]))
    case = Case("cifar10", "ddim", (2,), (0,), 24, {"eta": 0.5, "grid": "edm"}, reverse)
    assert make_plan([case]).runs[0].key == before


def test_the_key_and_the_numbers_stay_with_the_batch(root, tmp_path):
    records = []
    for batch in (None, 5):
        executor = Executor(Settings(tmp_path / f"results-{batch}", batch=batch))
        records.append(executor.execute(run(root)))
        assert records[-1].ok, records[-1].error
    assert records[0].key == records[1].key
    for name, found in records[0].metrics.items():
        assert records[1].metrics[name]["value"] == pytest.approx(found["value"], rel=1e-4, abs=1e-6, nan_ok=True), name


def test_where_a_file_lies_is_recorded_beside_the_key(root, tmp_path):
    record = Executor(Settings(tmp_path / "results")).execute(run(root))
    assert record.environment["checkpoint"] == str(root / "tiny.safetensors")
    assert str(root) not in json.dumps(record.config)
