"""The denoiser network: preconditioning, noise conditioning, shapes; and the digits' denoiser against the exact one."""

import pytest
import torch
from torch import nn

from benchmark.data.digits import load_digits
from benchmark.networks.checkpoint import load_denoiser
from benchmark.networks.unet import Denoiser, UNet, UNetConfig, double, halve

TINY = UNetConfig(image_channels=3, channels=(8, 16), blocks=(2, 1), attention=(1,), embedding=16)


def awakened(config=TINY):
    """A network whose zero-initialised convolutions are random, so that every part of it matters."""
    torch.manual_seed(0)
    network = UNet(config)
    for p in network.parameters():
        if not p.abs().sum():
            nn.init.normal_(p, std=0.1)
    return network


def test_fresh_denoiser_is_the_best_linear_one_of_white_data():
    """With its output at zero the network leaves c_skip·x: E[x0 | x] for x0 ~ N(0, σ_data²)."""
    x, sigma = torch.randn(3, 3, 8, 8), torch.tensor([0.01, 1.0, 50.0])
    expected = x * (0.25 / (0.25 + sigma**2))[:, None, None, None]
    torch.testing.assert_close(Denoiser(UNet(TINY))(x, sigma), expected)


@torch.no_grad()
def test_output_agrees_with_edms_equation_7():
    network = awakened()
    x, sigma, sd = torch.randn(2, 3, 8, 8), torch.tensor([0.3, 4.0]), 0.5
    s = sigma[:, None, None, None]
    c_in, c_out = 1 / (s**2 + sd**2).sqrt(), s * sd / (s**2 + sd**2).sqrt()
    expected = sd**2 / (s**2 + sd**2) * x + c_out * network(c_in * x, sigma.log() / 4)
    torch.testing.assert_close(Denoiser(network)(x, sigma), expected)


@torch.no_grad()
def test_one_level_for_all_is_the_same_as_one_each_and_batches_do_not_mix():
    denoiser, x = Denoiser(awakened()), torch.randn(4, 3, 8, 8)
    together = denoiser(x, torch.tensor(0.7))
    torch.testing.assert_close(together, denoiser(x, torch.full((4,), 0.7)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together, torch.cat([denoiser(row, 0.7) for row in x.split(1)]), atol=1e-5, rtol=1e-5)
    assert denoiser(x.double(), torch.tensor(0.7)).dtype == torch.float64


@torch.no_grad()
def test_the_noise_level_matters_beyond_preconditioning():
    network, x = awakened(), torch.randn(1, 3, 8, 8)
    assert (network(x, torch.tensor([0.1])) - network(x, torch.tensor([0.3]))).abs().max() > 1e-3


def test_every_parameter_gets_a_gradient():
    network = awakened()
    network(torch.randn(2, 3, 8, 8), torch.randn(2)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("config", [TINY, UNetConfig(1, (8,), (1,), (), False, patch=2, embedding=16)])
def test_shapes(config):
    x = torch.randn(2, config.image_channels, 8, 8)
    assert UNet(config)(x, torch.zeros(1)).shape == x.shape


def test_bad_widths_are_refused():
    with pytest.raises(ValueError, match="multiples of 8"):
        UNet(UNetConfig(channels=(12,), blocks=(1,)))


def test_resampling_against_pytorch():
    x = torch.randn(2, 3, 4, 6)
    torch.testing.assert_close(halve(x), nn.functional.avg_pool2d(x, 2))
    torch.testing.assert_close(double(x), nn.functional.interpolate(x, scale_factor=2))


@torch.inference_mode()
def test_digits_denoiser_is_near_the_exact_denoiser_of_its_training_images():
    """Where the noise is large, E[x0 | x] over the training images is what a good denoiser computes."""
    images = load_digits("train").images
    denoiser = load_denoiser("checkpoints/digits/denoiser.safetensors")
    generator = torch.Generator().manual_seed(0)
    for sigma in (3.0, 10.0, 60.0):
        x = images[:300] + sigma * torch.randn(300, 1, 8, 8, generator=generator)
        logits = -torch.cdist(x.flatten(1).double(), images.flatten(1).double()).square() / (2 * sigma**2)
        exact = (logits.softmax(1) @ images.flatten(1).double()).view_as(x)
        error = (denoiser(x, torch.tensor(sigma)) - exact).square().mean()
        assert error < 0.1 * exact.sub(exact.mean(0)).square().mean() + 0.005, sigma


@torch.no_grad()
def test_the_denoiser_compiles_without_graph_breaks():
    denoiser = Denoiser(awakened()).eval()
    x, sigma = torch.randn(2, 3, 8, 8), torch.tensor(0.7)
    compiled = torch.compile(denoiser, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, sigma), denoiser(x, sigma))
