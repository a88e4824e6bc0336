"""Work divided among processes."""

from __future__ import annotations

import gc
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.pool import AsyncResult
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
TASKS_AHEAD = 4
"""Tasks a process that are handed out before their turn; they are finished even when the script is stopped."""
_STOPPING = {signal.SIGINT, signal.SIGTERM}


def in_processes(work: Callable[[T], R], tasks: Iterable[T], processes: int) -> Generator[tuple[T, R], None, None]:
    """Every task and what `work`, a function of a module, makes of it; in their order.

    Only a few are taken ahead, or a large file would fill the RAM; and all of it in this thread, so that nothing is
    left waiting when the script is stopped. An error of `work` is raised here. Close it if you do not take everything.
    """
    with _blocked_signals(), _no_collection():
        pool = multiprocessing.Pool(processes, _begin)
    waiting: deque[tuple[T, AsyncResult[R]]] = deque()
    try:
        for task in tasks:
            waiting.append((task, pool.apply_async(work, (task,))))
            if len(waiting) > TASKS_AHEAD * processes:
                oldest, result = waiting.popleft()
                yield oldest, result.get()
        for oldest, result in waiting:
            yield oldest, result.get()
    finally:
        # No process is ever killed: in the middle of what it says, that would leave the pool waiting for the rest.
        pool.close()
        pool.join()


def _begin() -> None:
    """In a process of the pool, which ends when the script has no more work for it, or is no more.

    It leaves signals to the script, and never frees what it was forked with: a compiled network would wait for ever
    for threads that only the script has.
    """
    gc.freeze()
    gc.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Processes that begin meanwhile free nothing before they are ready."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def _blocked_signals() -> Iterator[None]:
    """Processes that begin meanwhile are not stopped before they are ready, when they would die with a traceback."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
