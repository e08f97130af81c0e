"""Work that is recorded once as a CUDA graph and replayed, so that the GPU does not wait for Python."""

from collections.abc import Callable
from typing import Any

import torch


class Replayed:
    """A function that, on CUDA, runs eagerly a few times, then is recorded as a graph and replayed."""

    def __init__(self, function: Callable[[], Any], device: torch.device, eager: int = 3):
        self.function, self.device, self.eager = function, device, eager
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if self.device.type != "cuda":
            self.function()
        elif self.eager:
            self.eager -= 1
            side = torch.cuda.Stream(self.device)
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                self.function()
            torch.cuda.current_stream().wait_stream(side)
        else:
            if self.graph is None:
                self.graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
                    self.function()
            self.graph.replay()
