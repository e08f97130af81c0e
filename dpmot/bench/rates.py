"""How near the kernel comes to the plain matrix product, and how far PyTorch's three steps stay behind. One GPU."""

import statistics
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..kernel import Tiling, argmax_scores, tiling


def measure(
    shapes: Iterable[tuple[int, int, int]],
    dtype: torch.dtype = torch.float16,
    tilings: Iterable[Tiling] = (),
    repeats: int = 12,
) -> list[dict[str, Any]]:
    """Rates in TFLOP/s (2·B·N·d operations) of the kernel, of `x @ y.T`, and of matmul + add + argmax.

    shapes: (B, N, d). Fresh random inputs; medians by CUDA events after warm-up; inputs larger than the L2 cache.
    """
    return [_shape(*shape, dtype, list(tilings), repeats) for shape in shapes]


def _shape(rows: int, n: int, d: int, dtype: torch.dtype, tilings: list[Tiling], repeats: int) -> dict[str, Any]:
    x = torch.randn(rows, d, device="cuda", dtype=dtype)
    y = torch.randn(n, d, device="cuda", dtype=dtype)
    h = torch.randn(n, device="cuda")
    half = h.to(dtype)
    part = max(1, 2**31 // n)  # rows whose scores PyTorch can hold at once

    def three_steps() -> list[Tensor]:
        return [torch.mm(block, y.T).add_(half).argmax(dim=1) for block in x.split(part)]

    work = 2.0 * rows * n * d / 1e12
    matmul = work / _seconds(lambda: [torch.mm(block, y.T) for block in x.split(part)], repeats)
    torch_rate = work / _seconds(three_steps, repeats)
    rates = {}
    for tile in tilings or [tiling(d, n, False, x.element_size())]:
        rates[tile] = _rate(partial(argmax_scores, x, y, h, tile=tile), work, repeats)
    best = max(rates, key=lambda tile: rates[tile])
    values = _rate(partial(argmax_scores, x, y, h, values=True), work, repeats)
    return {
        "rows": rows, "targets": n, "dim": d, "dtype": str(dtype).removeprefix("torch."),
        "device": torch.cuda.get_device_name(),
        "matmul_tflops": matmul, "torch_tflops": torch_rate, "kernel_tflops": rates[best], "second_tflops": values,
        "of_matmul": rates[best] / matmul, "over_torch": rates[best] / torch_rate, "tiling": list(best),
        "all": [[list(tile), rate] for tile, rate in rates.items()],
    }  # fmt: skip


def _rate(call: Callable[[], Any], work: float, repeats: int) -> float:
    try:
        return work / _seconds(call, repeats)
    except Exception as error:  # a tiling that does not fit the GPU: say so and go on
        print(f"  left out: {str(error).splitlines()[0][:100]}")
        return 0.0


def _seconds(call: Callable[[], Any], repeats: int) -> float:
    """Median device time of one call."""
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(times)
