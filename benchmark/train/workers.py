"""The processes of one training run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Workers:
    """The processes of one training: this one's rank, how many there are, and its device."""

    rank: int
    count: int
    device: torch.device

    @classmethod
    def start(cls, device: str | None = None) -> "Workers":
        """Join the processes that ``torchrun`` started, or be alone."""
        local = int(os.environ.get("LOCAL_RANK", 0))
        chosen = torch.device(device or (f"cuda:{local}" if torch.cuda.is_available() else "cpu"))
        count = int(os.environ.get("WORLD_SIZE", 1))
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
            torch.backends.cudnn.benchmark = True
            torch.backends.cuda.matmul.allow_tf32 = True
        if count > 1:
            dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
        return cls(int(os.environ.get("RANK", 0)), count, chosen)

    @classmethod
    @contextmanager
    def joined(cls, device: str | None = None) -> "Iterator[Workers]":
        """:meth:`start`, and leave the others at the end, however it comes."""
        try:
            yield cls.start(device)
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()

    def wait(self) -> None:
        """Until the work given to this process's device is done, and then until all processes are here."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        if self.count > 1:
            dist.barrier()

    def gather(self, t: Tensor) -> Tensor:
        """All processes' tensors, joined along the first axis; all of one shape."""
        if self.count == 1:
            return t
        parts = [torch.empty_like(t) for _ in range(self.count)]
        dist.all_gather(parts, t.contiguous())
        return torch.cat(parts)
