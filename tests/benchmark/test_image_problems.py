"""Image problems on tiny data sets of their format, with a tiny denoiser; errors in one line."""

import json
import math

import numpy as np
import pytest
import torch

from benchmark.networks.checkpoint import save_network
from benchmark.networks.published.ncsnv2 import NCSNv2
from benchmark.networks.unet import UNet, UNetConfig
from benchmark.problems import make_problem
from benchmark.records.store import read_arrays
from benchmark.running.execute import Executor, Settings
from benchmark.running.measuring import measure_run
from benchmark.running.plan import Case, make_plan
from samplers.errors import UserError


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root with 12 + 6 random images of CIFAR-10's format and of CelebA's, and a denoiser for either."""
    random = np.random.default_rng(0)
    for name, side in (("cifar10", 32), ("celeba64", 64)):
        (tmp_path / name).mkdir()
        for split, count in (("train", 12), ("test", 6)):
            images = random.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
            np.save(tmp_path / name / f"{split}.npy", images)
            if name == "cifar10":
                np.save(tmp_path / name / f"{split}_labels.npy", np.arange(count) % 10)
        (tmp_path / name / "dataset.json").write_text(json.dumps({"crop": "none"}))
    config = UNetConfig(channels=(8,), blocks=(1,), attention=(), middle_attention=False, embedding=16)
    save_network(tmp_path / "tiny.safetensors", UNet(config))
    monkeypatch.setenv("DPMOT_DATA", str(tmp_path))
    return tmp_path


def test_cifar10_has_everything_a_run_needs(root):
    problem = make_problem("cifar10", checkpoint=str(root / "tiny.safetensors"), references=5)
    images = np.load(root / "cifar10" / "test.npy")
    test = problem.examples("test", 4)
    assert test.shape == (4, *problem.shape) and test.min() >= -1 and test.max() <= 1
    assert np.array_equal(((test + 1) * 127.5).round().permute(0, 2, 3, 1).numpy(), images[:4])
    assert len(problem.examples("train", 100)) == 12 and len(problem.examples("reference", 100)) == 5
    assert problem.mode_weights.tolist() == pytest.approx([2 / 12, 2 / 12, *[1 / 12] * 8])
    assert problem.denoiser(test, torch.tensor(1.0)).shape == test.shape
    assert problem.features(test).shape == (4, 256)
    torch.testing.assert_close(problem.posterior(test).sum(1), torch.ones(4, dtype=torch.float64), atol=1e-5, rtol=0)
    assert problem.feature_name == "cifar10 classifier"


def test_copies_are_found_among_all_training_images(root, monkeypatch):
    monkeypatch.setenv("DPMOT_CACHE", str(root / "cache"))
    images = np.random.default_rng(1).integers(0, 256, (4100, 32, 32, 3), dtype=np.uint8)
    np.save(root / "cifar10" / "train.npy", images)
    np.save(root / "cifar10" / "train_labels.npy", np.arange(4100) % 10)
    given = {"checkpoint": str(root / "tiny.safetensors")}
    problem, part = make_problem("cifar10", **given), make_problem("cifar10", **given, neighbours=4000)
    copies = problem.examples("train", 4100)[-20:]
    found, missed = (measure_run(["novelty"], copies, each)["copy_share"] for each in (problem, part))
    assert found.value == 1 and "4100 training examples" in found.note
    assert missed.value < 0.5 and "4000 training examples" in missed.note
    assert len(list((root / "cache").glob("cifar10-held_out_distances-*.npy"))) == 2


def test_fingerprint_follows_the_weights_and_the_data(root):
    checkpoint = root / "tiny.safetensors"
    before = make_problem("cifar10", checkpoint=str(checkpoint)).fingerprint()
    save_network(checkpoint, UNet(UNetConfig(channels=(16,), blocks=(1,), attention=(), embedding=16)))
    after = make_problem("cifar10", checkpoint=str(checkpoint)).fingerprint()
    np.save(root / "cifar10" / "train.npy", 255 - np.load(root / "cifar10" / "train.npy"))
    other = make_problem("cifar10", checkpoint=str(checkpoint)).fingerprint()
    assert len({json.dumps(x, sort_keys=True) for x in (before, after, other)}) == 3


def test_celeba_takes_the_denoiser_it_is_given_and_has_one_mode(root):
    problem = make_problem("celeba64", checkpoint=str(root / "tiny.safetensors"))
    assert problem.denoiser(problem.examples("train", 2), torch.tensor(0.5)).shape == (2, 3, 64, 64)
    assert problem.mode_weights.tolist() == [1.0] and problem.posterior(torch.zeros(3, 3, 64, 64)).shape == (3, 1)


def test_published_training_states_are_taken_and_bound_the_noise(root):
    """NCSNv2 was trained on σ from 0.02 to 100 in our units; sampling is in the part of it between 0.002 and 80."""
    network = NCSNv2(8, 4)
    names = {name: name.replace("join", "msf.convs").replace("chain", "crp.convs") for name in network.state_dict()}
    state = {f"module.{names[name]}": tensor for name, tensor in network.state_dict().items()}
    sigmas = torch.linspace(math.log(50), math.log(0.01), 232).exp()
    torch.save([state | {"module.sigmas": sigmas}, {}, 1, 2], root / "checkpoint.pth")
    problem = make_problem("celeba64", checkpoint=str(root / "checkpoint.pth"))
    assert (problem.sigma_min, problem.sigma_max) == pytest.approx((0.02, 80))
    x = problem.examples("train", 2)
    torch.testing.assert_close(problem.denoiser(x, torch.tensor(0.5)), x + 0.5 * network(x))
    ours = make_problem("celeba64", checkpoint=str(root / "tiny.safetensors"))
    assert (ours.sigma_min, ours.sigma_max) == (0.002, 80)


@pytest.mark.parametrize("name", ["celebahq256", "lsun_church256", "lsun_bedroom256"])
def test_problems_of_256_pixels_run_a_pipeline(name, root, tmp_path):
    diffusers = pytest.importorskip("diffusers")
    assert make_problem(name).source.startswith("google/ddpm-ema-")
    network = diffusers.UNet2DModel(
        block_out_channels=(32, 32),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        add_attention=False,
    )
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler()).save_pretrained(tmp_path / "pipeline")
    (tmp_path / name).mkdir()
    np.save(tmp_path / name / "train.npy", np.full((3, 256, 256, 3), 51, np.uint8))
    (tmp_path / name / "dataset.json").write_text("{}")
    problem = make_problem(name, checkpoint=str(tmp_path / "pipeline"))
    assert problem.shape == (3, 256, 256) and problem.sigma_max == pytest.approx(157.4, rel=1e-3)
    x = problem.examples("train", 1)
    assert x.unique().tolist() == pytest.approx([51 / 127.5 - 1])
    assert problem.denoiser(x, torch.tensor(1.0)).shape == x.shape


def test_what_is_missing_or_wrong_is_said_in_one_line(root, monkeypatch):
    monkeypatch.setenv("DPMOT_WEIGHTS", str(root / "nowhere"))
    given = {"checkpoint": str(root / "tiny.safetensors")}
    np.save(root / "cifar10" / "train.npy", np.zeros((3, 16, 16, 3), np.uint8))
    cases = [
        (lambda: make_problem("celeba64").fingerprint(), "no denoiser is shipped"),
        (lambda: make_problem("celeba64", checkpoint="/none.safetensors").fingerprint(), "/none.safetensors"),
        (lambda: make_problem("celeba64", **given).features(torch.zeros(1, 3, 64, 64)), "DPMOT_WEIGHTS"),
        (lambda: make_problem("cifar10", **given).examples("train", 1), "expected 32×32"),
        (lambda: make_problem("lsun_bedroom64", **given).examples("train", 1), "no data in"),
        (lambda: make_problem("lsun_church256").examples("train", 1), "no data in"),
        (lambda: make_problem("cifar10", extractor="inceptoin"), "did you mean 'inception'"),
        (lambda: make_problem("celeba64", extractor="classifier"), "choose another extractor"),
        (lambda: make_problem("cifar10", shard=0), "at least 1"),
    ]
    for case, said in cases:
        with pytest.raises(UserError) as caught:
            case()
        assert said in str(caught.value) and "\n" not in str(caught.value)


def test_results_hold_no_picture_of_data_that_is_not_ours(root, tmp_path, monkeypatch):
    monkeypatch.setenv("DPMOT_CACHE", str(root / "cache"))
    images = np.random.default_rng(1).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    np.save(root / "cifar10" / "train.npy", images)  # a distance takes 20
    np.save(root / "cifar10" / "train_labels.npy", np.arange(24) % 10)
    given = {"checkpoint": str(root / "tiny.safetensors"), "references": 20, "shard": 12, "neighbours": 12}
    arms = ("ddim", "copy-target", "held-out", "random-latent", "dpmot-released")
    options = {"dpmot-released": {"iterations": 1}}
    cases = [Case("cifar10", arm, (2,), (0,), 24, options.get(arm, {}), given) for arm in arms]
    cases += [Case("cifar10", "random-latent", (2,), (0,), 24, {"targets": "model", "count": 12}, given)]
    executor, pictured = Executor(Settings(tmp_path / "results")), []
    for run in make_plan(cases).runs:
        record = executor.execute(run)
        assert record.ok, record.error
        if (pictures := read_arrays(tmp_path / "results", record.key)) is not None:
            assert pictures["samples"].shape == (24, 32, 32, 3)
            pictured.append((run.entry.name, run.options.get("targets")))
    assert pictured == [("ddim", None), ("random-latent", "model")]
