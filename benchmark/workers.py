"""The processes of one job: alone, or those that ``torchrun`` started, one for each GPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from dpmot.scores.ranks import usable
from samplers.errors import UserError


@dataclass(frozen=True)
class Workers:
    """This process's rank among ``count``, and its device."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that speaks and writes."""
        return self.rank == 0

    @classmethod
    def start(cls, device: str | None = None) -> "Workers":
        """Join the processes that ``torchrun`` started, or be alone.

        Args:
            device: as for :func:`choose_device`.

        Raises:
            UserError: no such device, or processes that would share one.
        """
        rank, local, count = (int(os.environ.get(name, 0)) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
        chosen = choose_device(device, local)
        if count > 1 and chosen.index not in (None, local):
            raise UserError(f"{count} processes cannot share {chosen}: give --device cuda, and each takes its own")
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
            torch.backends.cudnn.benchmark = True
        if count > 1:
            dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
        return cls(rank, max(count, 1), chosen)

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

    def mean(self, own: Tensor) -> float:
        """The mean over all processes of a number that each has on its device."""
        total = own.detach().double()
        if self.count > 1:
            dist.all_reduce(total)
        return float(total) / self.count

    def any(self, own: bool) -> bool:
        """Whether it holds in any process."""
        return self.mean(torch.tensor(float(own), device=self.device)) > 0


def choose_device(name: str | None, number: int = 0) -> torch.device:
    """The device for an option ``--device``.

    Args:
        name: ``cpu``, ``cuda``, ``cuda:1``, ...; None or ``auto`` for a GPU if there is one.
        number: of the GPU that ``cuda`` and ``auto`` mean.

    Raises:
        UserError: there is no such device, or it cannot be worked on.
    """
    if name in (None, "auto"):
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return usable(f"cuda:{number}" if name == "cuda" else name)
    except ValueError as error:
        raise UserError(f"{error}; --device takes auto, cpu, cuda or cuda:N") from None


def gather_rows(own: Tensor) -> Tensor:
    """The rows of all processes in the order of their ranks; each may have another number of them, or none."""
    if not dist.is_initialized():
        return own
    numbers = torch.zeros(dist.get_world_size(), dtype=torch.int64, device=own.device)
    numbers[dist.get_rank()] = len(own)
    dist.all_reduce(numbers)
    padded = torch.cat([own, own.new_zeros(int(numbers.max()) - len(own), *own.shape[1:])])
    everyone = [torch.empty_like(padded) for _ in numbers]
    dist.all_gather(everyone, padded)
    return torch.cat([part[:number] for part, number in zip(everyone, numbers.tolist(), strict=True)])
