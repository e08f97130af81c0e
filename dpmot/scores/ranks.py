"""Where the work is done: on which device, with targets shared by rows among ranks where one GPU cannot hold them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

FITS = 0.6  # share of a GPU's memory that the operands may take before they are shared among the GPUs


def usable(device: torch.device | str) -> torch.device:
    """A device to work on. ValueError of one line where it is none, or not here."""
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"can't work on device {str(device)!r}: {reason}") from None
    return found


def synchronize(device: torch.device) -> None:
    """Wait for a GPU's work, so that a clock may be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def to_shard(shape: Sequence[int], device: torch.device, dtype: torch.dtype, asked: bool | str) -> bool:
    """Whether targets of that shape are to be shared; "auto": where a GPU's memory can't hold them. A collective."""
    if asked not in (True, False, "auto"):
        raise ValueError(f"shard_targets must be True, False or 'auto', got {asked!r}")
    if not asked or not dist.is_initialized() or not 1 < dist.get_world_size() <= shape[0]:
        return False
    if asked == "auto" and device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        tight = torch.tensor(int(shape[0] * shape[1] * dtype.itemsize > FITS * memory), device=device)
        dist.all_reduce(tight, dist.ReduceOp.MAX)
        return bool(tight)
    return asked is True


def share(n: int) -> range:
    """This rank's part of n rows; parts differ by one at most."""
    return _shares(n)[dist.get_rank()]


def _shares(n: int) -> list[range]:
    ranks = dist.get_world_size()
    return [range(n * r // ranks, n * (r + 1) // ranks) for r in range(ranks)]


def stacked(own: Tensor) -> Tensor:
    """The tensors of all ranks, equal in shape, along a new first dimension."""
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own.contiguous())
    return torch.stack(parts)


def gathered(own: Tensor, n: int) -> Tensor:
    """[n] from the ranks' shares of it."""
    shares = _shares(n)
    padded = torch.nn.functional.pad(own, (0, max(map(len, shares)) - len(own)))
    return torch.cat([part[: len(rows)] for part, rows in zip(stacked(padded), shares, strict=True)])


def summed(own: Tensor) -> Tensor:
    """Sum over the ranks, in place."""
    dist.all_reduce(own)
    return own


@contextmanager
def memory_errors(advice: str) -> Iterator[None]:
    """A GPU's want of memory as a MemoryError of one line."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise MemoryError(f"out of GPU memory: {advice}") from None
