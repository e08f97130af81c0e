"""add_norm: against PyTorch's own operations, and the Triton kernels against the plain path."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from benchmark.networks.norm import add_norm_plain


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
    total, same, y = add_norm_plain(x, r, skip, scale, shift, 8, silu)
    joined = torch.cat([x + r, skip], 1).double()
    groups = joined.view(3, 3, 8 * 16)
    normed = (groups - groups.mean(2, keepdim=True)) / (groups.var(2, keepdim=True, unbiased=False) + 1e-5).sqrt()
    expected = normed.view(joined.shape) * scale[:, :, None, None] + shift[:, :, None, None]
    expected = F.silu(expected) if silu else expected
    assert same is skip
    torch.testing.assert_close(total, x + r)
    torch.testing.assert_close(y, expected.float(), atol=1e-5, rtol=1e-5)


def check_kernels_against_plain_path():
    """Outputs and all gradients of the Triton kernels against the plain path; run under Triton's interpreter."""
    from benchmark.networks import norm_triton
    from benchmark.networks.norm_triton import AddNorm

    for tiles in (norm_triton.FORWARD, norm_triton.BACKWARD):
        tiles[64] = norm_triton.Tile(8, 16, 4)  # in four chunks
    cases = [(2, 16, 24, 4, False, True, True), (2, 24, 0, 8, True, True, False), (3, 8, 0, 4, False, False, True)]
    for n, channels, joined, side, shared, added, silu in cases:
        inputs = make_inputs(n, channels, joined, side, shared, added)
        wanted = [t for t in inputs if t is not None]
        results = []
        for function in (add_norm_plain, AddNorm.apply):
            outputs = [t for t in function(*inputs, 8, silu) if t is not None]
            weights = [torch.randn(t.shape, generator=torch.Generator().manual_seed(i)) for i, t in enumerate(outputs)]
            loss = sum((t * w).sum() for t, w in zip(outputs, weights, strict=True))
            results.append([*outputs, *torch.autograd.grad(loss, wanted)])
        for plain, fused in zip(*results, strict=True):
            torch.testing.assert_close(fused, plain, atol=2e-5, rtol=2e-5)


def test_triton_kernels_match_plain_path_in_the_interpreter():
    pytest.importorskip("triton")
    command = "from tests.benchmark.networks.test_norm import check_kernels_against_plain_path as f; f()"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_triton_kernels_match_plain_path_on_the_device():
    from benchmark.networks.norm_triton import AddNorm

    for side, channels, joined in ((32, 128, 128), (16, 256, 128), (8, 256, 256), (64, 64, 0)):
        inputs = [t if t is None else t.cuda() for t in make_inputs(4, channels, joined, side, False, True)]
        for plain, fused in zip(add_norm_plain(*inputs, 8, True), AddNorm.apply(*inputs, 8, True), strict=True):
            if plain is not None:
                torch.testing.assert_close(fused, plain, atol=1e-4, rtol=1e-4)
