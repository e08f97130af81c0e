"""add_norm: against PyTorch's own operations, and the Triton kernels against the plain path."""

import os
import subprocess
import sys
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F

from benchmark.networks.dropout import Dropout
from benchmark.networks.norm import add_norm


def make_inputs(n, channels, joined, side, shared, added, seed=0):
    """Random x, r, skip, scale, shift that require gradients."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    rows = 1 if shared else n
    x, r = draw(n, channels, side, side), draw(n, channels, side, side) if added else None
    skip = draw(n, joined, side, side) if joined else None
    tensors = [x, r, skip, 1 + draw(rows, channels + joined), draw(rows, channels + joined)]
    return [t if t is None else t.requires_grad_() for t in tensors]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("silu", [True, False])
def test_plain_path_is_cat_groupnorm_affine_silu(shared, silu):
    x, r, skip, scale, shift = make_inputs(3, 16, 8, 4, shared, added=True)
    total, same, y = add_norm(x, r, skip, scale, shift, 8, silu)
    joined = torch.cat([x + r, skip], 1).double()
    groups = joined.view(3, 3, 8 * 16)
    normed = (groups - groups.mean(2, keepdim=True)) / (groups.var(2, keepdim=True, unbiased=False) + 1e-5).sqrt()
    expected = normed.view(joined.shape) * scale[:, :, None, None] + shift[:, :, None, None]
    expected = F.silu(expected) if silu else expected
    assert same is skip
    torch.testing.assert_close(total, x + r)
    torch.testing.assert_close(y, expected.float(), atol=1e-5, rtol=1e-5)


def test_dropout_keeps_its_share_and_depends_on_seed_salt_and_place():
    x, seeds = torch.ones(64, 32, 16, 16), torch.arange(123, 123 + 64)
    one = Dropout(0.1, seeds, 3).keeps(x)
    others = [Dropout(0.1, seeds + 64, 3).keeps(x), Dropout(0.1, seeds, 4).keeps(x)]
    assert torch.equal(one, Dropout(0.1, seeds.clone(), 3).keeps(x))
    assert torch.equal(one[40:], Dropout(0.1, seeds[40:], 3).keeps(x[40:]))  # whatever batch an image is in
    sd = (0.1 * 0.9 / x.numel()) ** 0.5
    for kept in (one, *others):
        assert abs(float(kept.double().mean()) - 0.9) < 4 * sd
        for lag in (1, 2, 16, 256):  # neighbours in memory are independent
            line = (~kept).permute(0, 2, 3, 1).flatten().double()
            assert abs(float((line[lag:] * line[:-lag]).mean()) - 0.01) < 5 * (0.01 * 0.99 / x.numel()) ** 0.5
    for kept in others:
        assert abs(float((~one & ~kept).double().mean()) - 0.01) < 5 * (0.01 * 0.99 / x.numel()) ** 0.5


def test_dropout_of_two_channels_or_pixels_is_independent():
    kept = Dropout(0.1, torch.arange(77, 77 + 128), 2).keeps(torch.ones(128, 64, 16, 16)).permute(1, 0, 2, 3).flatten(1)
    z = (kept.double() - 0.9) / 0.3
    between = z @ z.T / z.shape[1] - torch.eye(64)
    assert float(between.abs().max()) < 0.05 and float(between.square().mean()) < 1.2 / z.shape[1]
    pixels = z[:, :1024].T @ z[:, :1024] / 64
    assert float(pixels.fill_diagonal_(0).square().mean()) < 1.05 / 64
    four = z[1:, 1:] * z[:-1, 1:] * z[1:, :-1] * z[:-1, :-1]  # no trace of having been made of a row and a column
    assert abs(float(four.mean())) < 4 / four.numel() ** 0.5


def test_dropout_scales_what_it_keeps():
    x, drop = torch.randn(4, 16, 8, 8), Dropout(0.25, torch.arange(9, 13), 0)
    affine = torch.ones(1, 16), torch.zeros(1, 16)
    whole, some = (add_norm(x, None, None, *affine, 8, True, d)[-1] for d in (None, drop))
    torch.testing.assert_close(some, torch.where(drop.keeps(x), whole / 0.75, 0.0))


def compare_kernels(n, channels, joined, side, shared, added, silu, device="cpu", tolerance=2e-5, dtype=torch.float32):
    """Outputs and all gradients of the Triton kernels against the plain path; with dropout where nothing is joined.

    The kernels take activations of ``dtype``, the plain path the same ones in float32.
    """
    from benchmark.networks import norm_triton

    def plain(*inputs):
        with patch.object(norm_triton, "supports", return_value=False):
            return add_norm(*inputs)

    *activations, scale, shift = make_inputs(n, channels, joined, side, shared, added)
    rounded = [t if t is None else t.detach().to(dtype) for t in activations]
    drop = None if joined else Dropout(0.3, torch.arange(n, device=device) * 2**29 + 5, 7)
    results = []
    for function, kind in ((plain, torch.float32), (norm_triton.AddNorm.apply, dtype)):
        inputs = [*(t if t is None else t.to(kind) for t in rounded), scale, shift]
        inputs = [t if t is None else t.detach().to(device).requires_grad_() for t in inputs]
        outputs = [t for t in function(*inputs, 8, silu, drop) if t is not None]
        draws = [torch.randn(t.shape, generator=torch.Generator().manual_seed(i)) for i, t in enumerate(outputs)]
        loss = sum((t.float() * w.to(device)).sum() for t, w in zip(outputs, draws, strict=True))
        gradients = torch.autograd.grad(loss, [t for t in inputs if t is not None])
        results.append([t.float() for t in (*outputs, *gradients)])
    for expected, fused in zip(*results, strict=True):
        size = max(1.0, float(expected.detach().abs().max()))
        torch.testing.assert_close(fused, expected, atol=tolerance * size, rtol=tolerance)


def compare_kernels_in_the_interpreter():
    """Small sizes; images of 8×8 in four chunks."""
    from benchmark.networks import norm_triton

    for tiles in (norm_triton.FORWARD, norm_triton.BACKWARD):
        tiles[64] = norm_triton.Tile(8, 16, 4)
    compare_kernels(2, 16, 24, 4, False, True, True)
    compare_kernels(2, 24, 0, 8, True, True, False)
    compare_kernels(3, 8, 0, 4, False, False, True)
    compare_kernels(2, 16, 0, 4, False, True, True, tolerance=2e-2, dtype=torch.float16)
    compare_kernels(2, 16, 0, 8, False, False, True)


def test_triton_kernels_match_plain_path_in_the_interpreter():
    pytest.importorskip("triton")
    command = "from tests.benchmark.networks.test_norm import compare_kernels_in_the_interpreter as f; f()"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("added", [True, False])
@pytest.mark.parametrize(
    "side, channels, joined", [(32, 128, 128), (32, 128, 0), (16, 256, 0), (8, 256, 256), (64, 64, 0)]
)
def test_triton_kernels_match_plain_path_on_the_device(side, channels, joined, added, dtype, tolerance):
    compare_kernels(4, channels, joined, side, False, added, True, "cuda", tolerance, dtype)
