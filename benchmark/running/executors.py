"""Carrying out many pieces of work: one after the other, or on processes of one thread each."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

from samplers.errors import UserError

TRIES = 3
"""How often in a row processes may be killed before anything gets done."""
Item = TypeVar("Item")
Result = TypeVar("Result")


def carry_out(
    work: Callable[[Item], Result],
    groups: Sequence[Sequence[Item]],
    jobs: int,
    make_work: Callable[[int], Callable[[Item], Result]] | None = None,
) -> Iterator[Result]:
    """Do the work on every item; yields each result as it comes.

    Items of a group are done one after the other, in one process, so that they can share what it keeps.

    Args:
        work: does one item.
        groups: the items.
        jobs: processes; 1 does everything in this one.
        make_work: makes the work anew in each process from the process's number, 0, 1, ...: where `work` holds what
            cannot be sent, such as networks. Without it, `work` is sent.

    Raises:
        UserError: processes are killed again and again. A single one that is killed costs its group's time alone.
    """
    jobs = min(jobs, len(groups))
    if jobs <= 1:
        yield from (work(item) for group in groups for item in group)
        return
    left, dead = list(groups), 0
    while left:
        before = len(left)
        with processes(min(jobs, before), _keep, make_work, None if make_work else work) as pool:
            started = {pool.submit(_do_all, group): group for group in left}
            try:
                for done in as_completed(started):
                    results = done.result()
                    left.remove(started[done])
                    yield from results
            except BrokenProcessPool:
                dead = 0 if len(left) < before else dead + 1
                if dead == TRIES:
                    raise UserError(
                        "processes beside this one are killed again and again, for want of memory perhaps: give fewer "
                        "--jobs; the same command goes on"
                    ) from None
                print("note: a process was killed; its work begins anew", file=sys.stderr)


_work: Callable[[Any], Any]
"""Of a process that `carry_out` started."""


def _keep(make_work: Callable[[int], Callable[[Any], Any]] | None, work: Callable[[Any], Any]) -> None:
    global _work
    number = int(multiprocessing.current_process().name.rpartition("-")[2]) - 1  # names count from 1
    _work = make_work(number) if make_work else work


def _do_all(group: Sequence[Any]) -> list[Any]:
    return [_work(item) for item in group]


@contextmanager
def processes(count: int, start: Callable[..., None] | None = None, *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """Start `count` processes, each of which calls `start(*arguments)` first, and leaves Ctrl-C to this one.

    Where the block fails, they are ended at once. They also end where this process does, however it ends.
    """
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _start, (start, arguments)) as pool:
        with _inherited():
            for _ in range(count):  # each starts one
                pool.submit(int)
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _start(start: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which a process that is ended leaves there
    if start:
        start(*arguments)


def _end_with_parent() -> None:
    """Wait for the parent's end, by whatever signal, and end too: nobody is left to take results."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _inherited() -> Iterator[None]:
    """What processes started meanwhile have from their first import on."""
    handler, threads = signal.signal(signal.SIGINT, signal.SIG_IGN), os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if threads is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = threads
