"""Published denoisers: the same weights through our adapter and through the original library."""

import shutil

import pytest
import torch

from benchmark.networks.checkpoint import CheckpointError, save_network
from benchmark.networks.published import DiscreteEpsilonDenoiser, denoiser_hash, load_diffusers, open_denoiser
from benchmark.networks.unet import UNet, UNetConfig

diffusers = pytest.importorskip("diffusers")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A pipeline of the format of google/ddpm-cifar10-32, small, with random weights, saved in a folder."""
    torch.manual_seed(0)
    network = diffusers.UNet2DModel(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
    )
    folder = tmp_path_factory.mktemp("pipeline")
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler()).save_pretrained(folder)
    return folder, network.eval()


@torch.no_grad()
@pytest.mark.parametrize("step", [0, 1, 250, 999])
def test_denoiser_at_a_whole_step_is_the_schedulers_predicted_x0(pipeline, step):
    folder, network = pipeline
    denoiser, scheduler = load_diffusers(folder), diffusers.DDIMScheduler(clip_sample=False)
    alpha = scheduler.alphas_cumprod[step].double()
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(step))
    x_vp = x * alpha.sqrt().float()
    epsilon = network(x_vp, step).sample
    scheduler.set_timesteps(1000)
    expected = scheduler.step(epsilon, step, x_vp).pred_original_sample
    found = denoiser(x, (1 / alpha - 1).sqrt())
    torch.testing.assert_close(found, expected, atol=2e-4 * float(1 + (1 / alpha).sqrt()), rtol=1e-3)


def test_times_of_whole_steps_are_whole_and_between_them_monotone():
    alphas = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    denoiser = DiscreteEpsilonDenoiser(torch.nn.Identity(), alphas)
    sigmas = (1 / alphas - 1).sqrt()
    torch.testing.assert_close(denoiser.time(sigmas), torch.arange(1000, dtype=torch.float64), atol=1e-6, rtol=0)
    fine = denoiser.time(torch.logspace(-3, 3, 5000, dtype=torch.float64))
    assert (fine.diff() >= 0).all() and fine.min() == 0 and fine.max() == 999
    assert denoiser.sigma_min == pytest.approx(0.01, rel=1e-3) and denoiser.sigma_max == pytest.approx(157.4, rel=1e-3)


def test_open_denoiser_takes_folders_and_our_own_files(pipeline, tmp_path):
    own = tmp_path / "own.safetensors"
    save_network(own, UNet(UNetConfig(channels=(8,), blocks=(1,), attention=(), embedding=16)))
    x = torch.randn(1, 3, 16, 16)
    for source in (pipeline[0], own):
        assert open_denoiser(source)(x, torch.tensor(1.0)).shape == x.shape
        assert len(denoiser_hash(source)) >= 16


def test_names_on_the_hub_stand_for_the_files_that_are_there(pipeline, tmp_path, monkeypatch):
    """google/ddpm-cifar10-32 keeps its parts side by side; its older revisions have no safetensors."""
    asked, folder = [], tmp_path / "snapshot"
    shutil.copytree(pipeline[0] / "unet", folder)
    shutil.copy(pipeline[0] / "scheduler" / "scheduler_config.json", folder)

    def snapshot(name, allow_patterns):
        asked.append((name, allow_patterns[-1]))
        if name != "google/ddpm-cifar10-32":
            raise OSError(f"{name} is not there\nand more")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    x = torch.randn(1, 3, 16, 16)
    found = open_denoiser("google/ddpm-cifar10-32")(x, torch.tensor(1.0))
    torch.testing.assert_close(found, load_diffusers(pipeline[0])(x, torch.tensor(1.0)))
    before = denoiser_hash("google/ddpm-cifar10-32")
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    assert denoiser_hash("google/ddpm-cifar10-32") != before
    assert {pattern for _, pattern in asked} == {"*.safetensors"}
    (folder / "diffusion_pytorch_model.safetensors").rename(folder / "diffusion_pytorch_model.bin")
    denoiser_hash("google/ddpm-cifar10-32")
    assert asked[-1][1] == "*.bin"
    with pytest.raises(CheckpointError, match=r"can't be had from the hub \(google/none is not there\)$"):
        open_denoiser("google/none")


def test_unusable_sources_are_one_line(pipeline, tmp_path):
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "none.safetensors", "nowhere"):
        with pytest.raises(CheckpointError) as caught:
            open_denoiser(source)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="no weights"):
        denoiser_hash(tmp_path / "empty")


def test_other_predictions_are_refused(pipeline, tmp_path):
    network = pipeline[1]
    scheduler = diffusers.DDPMScheduler(prediction_type="v_prediction")
    diffusers.DDPMPipeline(network, scheduler).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="expected epsilon"):
        load_diffusers(tmp_path)
