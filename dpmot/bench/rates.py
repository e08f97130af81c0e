"""How near the kernel comes to the plain matrix product, how far PyTorch's three steps stay behind; what maps cost."""

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .. import HardMap, SemiDiscreteProblem, SoftmaxMap, TopKMap, closed_form_heights
from ..machine import tf32


def measure(
    rows: int, n: int, d: int, dtype: torch.dtype = torch.float16, repeats: int = 12, device: str = "cuda"
) -> dict[str, Any]:
    """Rates in TFLOP/s (2·B·N·d operations) of the kernel, of `x @ y.T`, and of matmul + add + argmax.

    All three round float32 operands to TF32. Medians by CUDA events after warm-up, of random operands [B, d] and
    [N, d]; PyTorch takes as many rows at once as it can hold scores of.
    """
    from ..scores.kernel import argmax_scores, tiling

    x = torch.randn(rows, d, device=device, dtype=dtype)
    y = torch.randn(n, d, device=device, dtype=dtype)
    h = torch.randn(n, device=device)
    cast, rounds, part = h.to(dtype), dtype == torch.float32, max(1, 2**31 // n)

    def plain() -> list[Tensor]:
        return [torch.mm(block, y.T) for block in x.split(part)]

    def three_steps() -> list[Tensor]:
        return [torch.mm(block, y.T).add_(cast).argmax(dim=1) for block in x.split(part)]

    best, both = (partial(argmax_scores, x, y, h, values=values, tf32=rounds) for values in (False, True))
    with tf32():
        matmul, steps, kernel, second = (
            2e-12 * rows * n * d / _seconds(call, repeats) for call in (plain, three_steps, best, both)
        )
    return {
        "rows": rows, "targets": n, "dim": d, "dtype": "tf32" if rounds else str(dtype).removeprefix("torch."),
        "matmul_tflops": matmul, "torch_tflops": steps, "kernel_tflops": kernel, "second_tflops": second,
        "of_matmul": kernel / matmul, "over_torch": kernel / steps,
        "tiling": list(tiling(d, n, False, x.element_size())),
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
