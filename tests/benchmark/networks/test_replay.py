"""Recorded evaluations against the denoiser's own."""

import pytest
import torch

from benchmark.networks.replay import SHAPES, ReplayedDenoiser
from benchmark.networks.unet import Denoiser, UNet, UNetConfig

CONFIG = UNetConfig(channels=(32, 32), blocks=(1, 1), attention=(), embedding=32)


def make_denoiser(device="cpu", dtype=torch.float32):
    torch.manual_seed(0)
    denoiser = Denoiser(UNet(CONFIG), dtype).to(device).eval()
    for p in denoiser.parameters():  # the last convolutions start at zero
        torch.nn.init.normal_(p, std=0.1)
    return denoiser


def test_gradients_pass_and_a_cpu_records_nothing():
    denoiser = make_denoiser()
    replayed = ReplayedDenoiser(denoiser)
    x = torch.randn(2, 3, 16, 16, requires_grad=True)
    (slope,) = torch.autograd.grad(replayed(x, 0.7).sum(), x)
    (expected,) = torch.autograd.grad(denoiser(x, torch.tensor(0.7)).sum(), x)
    assert torch.equal(slope, expected) and slope.abs().max() > 0
    with torch.no_grad():
        assert torch.equal(replayed(x, 0.7), denoiser(x, 0.7))
    assert not replayed._evaluations


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_replayed_evaluations_are_the_denoisers(dtype):
    denoiser, rng = make_denoiser("cuda", dtype), torch.Generator("cuda").manual_seed(1)
    replayed, tolerance = ReplayedDenoiser(denoiser), 1e-4 if dtype == torch.float32 else 3e-2
    kept = []
    for call in range(8):  # the first are eager, one is recorded, the others are replayed
        for count in range(2, SHAPES + 4):
            x = torch.randn(count, 3, 16, 16, generator=rng, device="cuda") * (call + 1)
            for sigma in (torch.tensor(0.5 + call, device="cuda"), torch.full((count,), 2.0 + call, device="cuda")):
                with torch.no_grad():
                    kept.append((replayed(x, sigma), denoiser(x, sigma)))
    assert len(replayed._evaluations) == SHAPES
    assert all(one.replayed.graph is not None for one in replayed._evaluations.values())
    for found, expected in kept:  # no later call has written to what an earlier one returned
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))
    x = torch.randn(2, 3, 16, 16, device="cuda", requires_grad=True)
    assert torch.autograd.grad(replayed(x, 0.5).sum(), x)[0].abs().max() > 0


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_student_that_learns_is_replayed_as_it_is_now(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    denoiser = make_denoiser(device).requires_grad_(True)
    student, x = ReplayedDenoiser(denoiser), torch.randn(4, 3, 16, 16, device=device)
    optimizer = torch.optim.Adam(student.parameters(), 1e-2, fused=device == "cuda")
    before = None
    for _ in range(8):
        with torch.no_grad():
            found, expected = student(x, 0.7), denoiser(x, torch.tensor(0.7, device=device))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
        assert before is None or not torch.allclose(found, before, rtol=1e-2)
        before = found
        optimizer.zero_grad()
        student(x, 0.7).square().mean().backward()
        optimizer.step()
