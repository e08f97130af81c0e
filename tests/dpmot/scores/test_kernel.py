"""The Triton kernel against float64: on the CPU through Triton's interpreter, on a GPU where there is one."""

import inspect
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from packaging.version import Version

from dpmot.scores.assign import assign, assign_exactly, soft_assign, top

triton = pytest.importorskip("triton")


def poisoned(*shape, empty=torch.empty, **options):
    """torch.empty with contents that no output may have, so that an unwritten one shows: the highest value, cell 0."""
    tensor = empty(*shape, **options)
    return tensor.fill_(torch.finfo(tensor.dtype).max if tensor.is_floating_point() else 0)


INTERPRETED = """
torch.empty = poisoned
from dpmot.scores.kernel import Tiling, argmax_scores, softmax_weights, top_scores
torch.manual_seed({seed})
tile = Tiling(*{tile})
for rows, n, d in ((70, 300, 40), (40, 130, 100), (1, 1, 3), (33, 17, 16), (16, 65, 1)):
    for dtype, tf32 in ((torch.float16, False), (torch.float32, True)):
        x, y, h = torch.randn(rows, d).to(dtype), torch.randn(n, d).to(dtype), torch.randn(n)
        cell, best, second = argmax_scores(x, y, h, values=True, tf32=tf32, tile=tile)
        exact = x.double() @ y.double().T + h.double()
        top = torch.cat([exact, torch.full((rows, 1), -torch.inf)], 1).sort(1, descending=True).values
        assert torch.equal(cell, exact.argmax(1)), (rows, n, d, dtype)
        assert torch.allclose(best.double(), top[:, 0], atol=1e-4)
        assert torch.allclose(second.double(), top[:, 1], atol=1e-4)
        only, highest, none = argmax_scores(x, y, h, tf32=tf32, tile=tile)
        assert torch.equal(only, cell) and torch.equal(highest, best) and none is None
        rough = exact.gather(1, argmax_scores(x, y, h, rough=True, tf32=tf32, tile=tile)[0][:, None])[:, 0]
        assert bool((top[:, 0] - rough <= 2**-15 * top[:, 0].abs()).all())
        cell = argmax_scores(x, y, h - 1000, rough=True, tf32=tf32, tile=tile)[0]  # negative scores order the other way
        assert bool((top[:, 0] - exact.gather(1, cell[:, None])[:, 0] <= 2**-15 * 1010).all())
        if tf32 or d > 40:
            continue
        k = min(3, n)
        values, cells, unsure = top_scores(x, y, h, k, tf32=tf32, tile=tile)
        order = exact.sort(1, descending=True)
        assert (n <= 64 * k or not unsure.all()) and torch.equal(cells[~unsure], order.indices[~unsure, :k])
        assert torch.allclose(values[~unsure].double(), order.values[~unsure, :k], atol=1e-4)
for rows, n in ((3, 5000), (5, 4096), (2, 17), (1, 1)):
    products, h = torch.randn(rows, n), torch.randn(n)
    exact = (products.double() + h.double()) * 3
    weights, highest, total = softmax_weights(products, h, 3.0, torch.float16)
    assert weights.dtype == torch.float16 and torch.allclose(3 * highest.double(), exact.amax(1), atol=1e-5)
    assert torch.allclose(weights / total[:, None].double(), exact.softmax(1), rtol=1e-3, atol=1e-7)
x, y, h = (torch.randint(-2, 3, shape).half() for shape in ((64, 8), (200, 8), (200,)))  # many exact ties
cell, best, second = argmax_scores(x, y, h, values=True, tile=tile)
exact = x.double() @ y.double().T + h.double()
assert torch.equal(cell, exact.argmax(1)) and torch.equal(second.double(), exact.sort(1).values[:, -2])
"""


@pytest.mark.skipif(
    Version(triton.__version__) < Version("3.7") and Version(np.__version__) >= Version("2.5"),
    reason="this Triton's interpreter calls int() on arrays, which this NumPy refuses",
)
@pytest.mark.parametrize("tile", [(32, 64, 64, 2, 4, 4, 2), (32, 64, 32, 2, 2, 4, 2), (16, 16, 16, 3, 8, 4, 2)])
def test_kernel_in_the_interpreter(tile):
    code = "import torch\n" + inspect.getsource(poisoned) + INTERPRETED.format(seed=sum(tile), tile=tile)
    env = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]


def test_exact_assignment_is_float64s():
    generator = torch.Generator().manual_seed(0)
    x, y, h = (torch.randn(*shape, generator=generator) for shape in ((3000, 100), (500, 100), (500,)))
    exact = (x.double() @ y.double().T + h.double()).argmax(1)
    rounded = assign(x.bfloat16(), y.bfloat16(), h).cell
    assert (rounded != exact).any(), "the test shows nothing"
    for precision in (torch.float16, torch.bfloat16):
        assert torch.equal(assign_exactly(x, y, h, precision), exact)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    "shape", [(1000, 5000, 3072), (999, 5003, 64), (513, 777, 130), (5, 3, 7), (4097, 20_001, 256)]
)
def test_kernel_on_the_gpu(dtype, shape, monkeypatch):
    monkeypatch.setattr("dpmot.scores.kernel.torch.empty", poisoned)
    rows, n, d = shape
    x, y = torch.randn(rows, d, device="cuda").to(dtype), torch.randn(n, d, device="cuda").to(dtype)
    h = torch.randn(n, device="cuda")
    exact = x.double() @ y.double().T + h.double()
    top = exact.topk(min(2, n), dim=1).values
    tolerance = 2e-2 * d**0.5 if dtype == torch.float32 else 1e-3 * d**0.5  # TF32 rounds, halves are exact products
    for values in (True, False):
        found = assign(x, y, h, values=values, tf32=True, kernel=True)
        regret = top[:, 0] - exact.gather(1, found.cell[:, None])[:, 0]
        assert regret.max() <= tolerance * 1e-1 and (found.cell == exact.argmax(1)).double().mean() > 0.98
        if values:
            assert (found.best - top[:, 0]).abs().max() < tolerance
            assert (found.second - top[:, 1]).abs().max() < tolerance
    assert torch.equal(assign_exactly(x.float(), y.float(), h), exact.argmax(1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("shape", [(1000, 5000, 3072, 5), (999, 5003, 64, 2), (513, 300, 130, 20), (5, 3, 7, 3)])
def test_top_scores_on_the_gpu(shape, monkeypatch):
    monkeypatch.setattr("dpmot.scores.kernel.torch.empty", poisoned)
    rows, n, d, k = shape
    x, y = torch.randn(rows, d, device="cuda").half(), torch.randn(n, d, device="cuda").half()
    h = torch.randn(n, device="cuda")
    exact = x.double() @ y.double().T + h.double()
    best, cells = top(x, y, h, k)
    assert (best - exact.topk(k, dim=1).values).abs().max() < 1e-3 * d**0.5
    assert (exact.gather(1, cells) - best).abs().max() < 1e-3 * d**0.5
    assert (cells == exact.topk(k, dim=1).indices).double().mean() > 0.999


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(300, 50_000, 3072), (99, 5003, 64), (5, 3, 7)])
def test_soft_assignment_on_the_gpu(dtype, shape, monkeypatch):
    monkeypatch.setattr("dpmot.scores.kernel.torch.empty", poisoned)
    rows, n, d = shape
    x, y = torch.randn(rows, d, device="cuda").to(dtype), torch.randn(n, d, device="cuda").to(dtype)
    h, sharpness = torch.randn(n, device="cuda"), 3 / d**0.5
    exact = ((x.double() @ y.double().T + h.double()) * sharpness).softmax(1)
    weights, highest, total = soft_assign(x, y, h, sharpness)
    assert weights.dtype == dtype
    found = weights.double() / total[:, None].double()
    assert (found - exact).abs().max() < torch.finfo(dtype).eps * exact.max() + 1e-7
    plain = soft_assign(x, y, h, sharpness, kernel=False)
    assert torch.allclose(highest, plain[1], atol=1e-3 * d**0.5) and torch.allclose(total, plain[2], rtol=1e-3)
