"""How near the kernel comes to the plain matrix product, how far PyTorch's three steps stay behind; what maps cost."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .. import HardMap, SemiDiscreteProblem, SoftmaxMap, TopKMap, closed_form_heights

if TYPE_CHECKING:
    from ..kernel import Tiling


def measure(
    shapes: Iterable[tuple[int, int, int]],
    dtype: torch.dtype = torch.float16,
    tilings: "Iterable[Tiling]" = (),
    repeats: int = 12,
) -> list[dict[str, Any]]:
    """Rates in TFLOP/s (2·B·N·d operations) of the kernel, of `x @ y.T`, and of matmul + add + argmax.

    shapes: (B, N, d). Fresh random inputs; medians by CUDA events after warm-up; inputs larger than the L2 cache.
    """
    return [_shape(*shape, dtype, list(tilings), repeats) for shape in shapes]


def _shape(rows: int, n: int, d: int, dtype: torch.dtype, tilings: "list[Tiling]", repeats: int) -> dict[str, Any]:
    from ..kernel import argmax_scores, tiling

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


def maps(targets: Tensor, rows: int, repeats: int = 5) -> Iterator[dict[str, Any]]:
    """Rates of the maps of `rows` standard normal samples, beside the assignment of operands that are there already.

    tflops counts the scores' 2·B·N·d operations alone (d ≤ N: the reduced one), whatever a map does beside them.
    """
    problem = SemiDiscreteProblem(targets)
    heights = closed_form_heights(problem)
    z = torch.randn(rows, problem.dim, device=targets.device)
    hard = HardMap(problem, heights)
    operands, inner = hard.cells.embed(z), hard.cells.inner(heights).float()
    calls: dict[str, Callable[[], Any]] = {
        "bare assignment": lambda: hard.cells.assign(operands, inner),
        "hard": lambda: hard(z),
        "top-2": partial(TopKMap(problem, heights, k=2), z),
        "top-5": partial(TopKMap(problem, heights, k=5), z),
        "softmax": partial(SoftmaxMap(problem, heights, temperature=1.0), z),
    }
    bare, work = None, 2.0 * rows * hard.cells.num * operands.shape[1] / 1e12
    for name, call in calls.items():
        seconds = _seconds(call, repeats)
        bare = bare or seconds
        yield {
            "map": name, "rows": rows, "precision": hard.cells.precision, "seconds": seconds,
            "per_second": rows / seconds, "tflops": work / seconds, "of_assign": bare / seconds,
        }  # fmt: skip


def _rate(call: Callable[[], Any], work: float, repeats: int) -> float:
    try:
        return work / _seconds(call, repeats)
    except Exception as error:  # a tiling that does not fit the GPU: say so and go on
        print(f"  left out: {str(error).splitlines()[0][:100]}")
        return 0.0


def _seconds(call: Callable[[], Any], repeats: int) -> float:
    """Median time of one call: the GPU's by events, the CPU's by the clock."""
    for _ in range(3 if torch.cuda.is_available() else 1):
        call()
    times = []
    for _ in range(repeats):
        if not torch.cuda.is_available():
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
            continue
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(times)
