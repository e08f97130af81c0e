"""Work that is recorded once as a CUDA graph and replayed, so that the GPU does not wait for Python."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from samplers.cudnn import fastest_convolutions

SHAPES = 4


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
            side, current = torch.cuda.Stream(self.device), torch.cuda.current_stream(self.device)
            side.wait_stream(current)
            with torch.cuda.stream(side):
                self.function()
            current.wait_stream(side)
        else:
            self.graph = self.graph or self._record()
            self.graph.replay()

    def _record(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        side = torch.cuda.Stream(self.device)  # of its own: PyTorch's issue 193402
        here = torch.cuda.device(self.device)
        with here, torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            self.function()
        return graph


class ReplayedDenoiser(nn.Module):
    """A denoiser whose evaluations on CUDA, where no gradients are wanted, are replayed: one graph for each shape.

    The first :data:`SHAPES` shapes are recorded, with the fastest convolutions that cuDNN has for them; others run
    eagerly. Which are fastest is measured: two processes may choose differently, and their results then differ by
    rounding. The denoiser must not wait for the GPU, nor look at what its tensors hold.
    """

    def __init__(self, denoiser: nn.Module):
        super().__init__()
        self.denoiser = denoiser
        self._evaluations: dict[Any, _Evaluation] = {}

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
        shape = x.shape, x.dtype, sigma.shape
        if not x.is_cuda or torch.is_grad_enabled() or torch.is_inference_mode_enabled():
            return self.denoiser(x, sigma)
        if shape not in self._evaluations:
            if len(self._evaluations) == SHAPES:
                return self.denoiser(x, sigma)
            self._evaluations[shape] = _Evaluation(self.denoiser, x, sigma)
        return self._evaluations[shape](x, sigma)

    def _apply(self, *args: Any, **kwargs: Any) -> "ReplayedDenoiser":
        self._evaluations.clear()  # the weights move, and graphs know where they were
        return super()._apply(*args, **kwargs)


class _Evaluation:
    """Evaluations of batches of one shape."""

    def __init__(self, denoiser: nn.Module, x: Tensor, sigma: Tensor):
        self.x, self.sigma, self.found = torch.empty_like(x), torch.empty_like(sigma), torch.empty_like(x)
        self.replayed = Replayed(lambda: self.found.copy_(denoiser(self.x, self.sigma)), x.device)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.x.copy_(x)
        self.sigma.copy_(sigma)
        with fastest_convolutions():
            self.replayed()
        return self.found.clone()
