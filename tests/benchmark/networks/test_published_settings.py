"""Pipelines beside the words of their settings: what is used agrees with diffusers, what is not used is refused."""

import json
import math
import shutil

import pytest
import torch

from benchmark.networks.checkpoint import CheckpointError
from benchmark.networks.published import denoiser_hash, load_diffusers, open_denoiser
from benchmark.networks.published.pipeline import SCHEDULERS

diffusers = pytest.importorskip("diffusers")
SMALL = {
    "sample_size": 16,
    "layers_per_block": 1,
    "block_out_channels": (32, 32),
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
    "add_attention": False,
}


def save(folder, scheduler=None, edit=None, **network):
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(**{**SMALL, **network})
    diffusers.DDPMPipeline(unet, scheduler or diffusers.DDPMScheduler()).save_pretrained(folder)
    if edit:
        change(folder, edit)
    return folder


def change(folder, edit):
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({k: v for k, v in (json.loads(file.read_text()) | edit).items() if v != "absent"}))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return save(tmp_path_factory.mktemp("pipelines") / "plain")


@pytest.fixture
def pipeline(plain, tmp_path):
    """A copy to be changed."""
    return shutil.copytree(plain, tmp_path / "pipeline")


@pytest.mark.parametrize(
    "options",
    [
        {"beta_schedule": "linear", "beta_start": 0.001, "beta_end": 0.03, "num_train_timesteps": 500},
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"trained_betas": [0.1, 0.2, 0.3]},
    ],
)
def test_levels_of_noise_are_those_of_the_scheduler(pipeline, options):
    scheduler = diffusers.DDPMScheduler(**options)
    scheduler.save_pretrained(pipeline / "scheduler")
    expected = (1 / scheduler.alphas_cumprod.double() - 1).sqrt()
    torch.testing.assert_close(load_diffusers(pipeline).log_sigmas, expected.log(), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_keys_that_are_missing_have_the_defaults_of_their_class(pipeline, name):
    keys = ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps", "trained_betas", "prediction_type")
    change(pipeline, {"_class_name": f"{name}Scheduler", **dict.fromkeys(keys, "absent")})
    expected = getattr(diffusers, f"{name}Scheduler")().alphas_cumprod.double()
    torch.testing.assert_close(load_diffusers(pipeline).log_sigmas, (1 / expected - 1).log() / 2, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr=True is not supported, only False"),
        ({"use_flow_sigmas": True}, "use_flow_sigmas=True is not supported"),
        ({"_class_name": "ScoreSdeVeScheduler"}, "'ScoreSdeVeScheduler' is not supported: one of DDPM, DDIM"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "'FlowMatchEulerDiscreteScheduler' is not supported"),
        ({"_class_name": "EDMEulerScheduler"}, "'EDMEulerScheduler' is not supported"),
        ({"_class_name": "CMStochasticIterativeScheduler"}, "is not supported"),
        ({"_class_name": ["x"]}, "is not supported"),
        ({"prediction_type": "v_prediction"}, "predicts 'v_prediction', expected epsilon"),
        ({"beta_schedule": "sigmoid"}, "beta schedule 'sigmoid' is not supported: linear, scaled_linear or squared"),
        ({"beta_start": math.nan}, "betas must be"),
        ({"beta_start": "x"}, "what it says of betas are no numbers"),
        ({"beta_end": 1.5}, "betas must be"),
        ({"num_train_timesteps": 10**9}, "expected 2 to 100000"),
        ({"num_train_timesteps": 0.5}, "expected 2 to 100000"),
        ({"trained_betas": []}, "betas must be"),
        ({"trained_betas": "x"}, "scheduler_config.json: "),
    ],
)
def test_settings_that_are_not_supported_are_refused_in_one_line(pipeline, edit, said):
    change(pipeline, edit)
    with pytest.raises(CheckpointError) as caught:
        load_diffusers(pipeline)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"out_channels": 6}, "predicts variances too (6 channels of 3)"),
        ({"num_class_embeds": 10}, "conditional on classes"),
        ({"in_channels": 1, "out_channels": 1}, "for images of 1 channels, these have 3"),
        ({"sample_size": 64}, "for 64×64 pixels, these images have 16×16; #any-size uses it"),
    ],
)
def test_networks_for_something_else_are_refused_before_they_are_loaded(tmp_path, monkeypatch, network, said):
    save(tmp_path / "a", **network)
    monkeypatch.setattr(diffusers.UNet2DModel, "from_pretrained", lambda *_: pytest.fail("was loaded"))
    with pytest.raises(CheckpointError) as caught:
        open_denoiser(tmp_path / "a", shape=(3, 16, 16))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_another_size_is_taken_where_it_is_asked_for(tmp_path):
    save(tmp_path / "a", sample_size=64)
    x = torch.randn(1, 3, 16, 16)
    assert open_denoiser(f"{tmp_path / 'a'}#any-size", shape=x.shape[1:])(x, torch.tensor(1.0)).shape == x.shape
    assert denoiser_hash(f"{tmp_path / 'a'}#any-size") == denoiser_hash(tmp_path / "a")


def test_the_hash_covers_all_that_is_read_and_nothing_else(pipeline, tmp_path):
    before = denoiser_hash(pipeline)
    (pipeline / "README.md").write_text("words")
    (pipeline / "model_index.json").unlink()
    moved = pipeline.rename(tmp_path / "elsewhere")
    assert denoiser_hash(moved) == before
    change(moved, {"beta_schedule": "scaled_linear"})
    scheduled = denoiser_hash(moved)
    config = moved / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"norm_eps": 1e-3}))
    configured = denoiser_hash(moved)
    weights = moved / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert len({before, scheduled, configured, denoiser_hash(moved)}) == 4


def test_averages_that_training_kept_beside_the_weights_are_taken(pipeline):
    raw, before = load_diffusers(pipeline), denoiser_hash(pipeline)
    network = diffusers.UNet2DModel.from_pretrained(pipeline / "unet")
    average = diffusers.training_utils.EMAModel(
        [torch.nn.Parameter(weight * 0.5) for weight in network.parameters()],
        model_cls=diffusers.UNet2DModel,
        model_config=network.config,
    )
    average.save_pretrained(pipeline / "unet_ema")
    for weight, expected in zip(load_diffusers(pipeline).parameters(), raw.parameters(), strict=True):
        torch.testing.assert_close(weight, expected * 0.5)
    assert denoiser_hash(pipeline) != before


def test_damaged_settings_are_one_line(pipeline):
    for file in ("unet/config.json", "scheduler/scheduler_config.json"):
        whole = (pipeline / file).read_bytes()
        for content in (b"", b"[]", b"\xff\xfe", b'{"a": '):
            (pipeline / file).write_bytes(content)
            with pytest.raises(CheckpointError, match="damaged") as caught:
                load_diffusers(pipeline)
            assert "\n" not in str(caught.value)
        (pipeline / file).unlink()
        with pytest.raises(CheckpointError, match="not there"):
            load_diffusers(pipeline)
        (pipeline / file).write_bytes(whole)
