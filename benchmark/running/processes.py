"""Processes of one thread each that work beside the main one, and leave Ctrl-C to it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm


@contextmanager
def processes(count: int, start: Callable[..., None] | None = None, *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """`count` of them, each of which calls `start(*arguments)` first. Where the block fails, they are ended at once."""
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
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which a process that is ended leaves there
    if start:
        start(*arguments)


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
