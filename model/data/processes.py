"""Work divided among processes."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.pool import AsyncResult
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
TASKS_AHEAD = 8
_LAST_WORDS_SECONDS = 10.0
_STOPPING = {signal.SIGINT, signal.SIGTERM}


def in_processes(work: Callable[[T], R], tasks: Iterable[T], processes: int) -> Iterator[tuple[T, R]]:
    """Every task and what `work`, a function of a module, makes of it; in their order.

    Only a few are taken ahead, or a large file would fill the RAM; and all of it in this thread, so that nothing is
    left waiting when the script is stopped. An error of `work` is raised here.
    """
    with _blocked_signals():
        workers = multiprocessing.Pool(processes, _leave_signals_to_the_script)
    with workers as pool:
        waiting: deque[tuple[T, AsyncResult[R]]] = deque()
        try:
            for task in tasks:
                waiting.append((task, pool.apply_async(work, (task,))))
                if len(waiting) > TASKS_AHEAD * processes:
                    oldest, result = waiting.popleft()
                    yield oldest, result.get()
            for oldest, result in waiting:
                yield oldest, result.get()
        except Exception:
            # Ended in the middle of what it says, a process would leave the pool waiting for the rest, for good.
            deadline = time.monotonic() + _LAST_WORDS_SECONDS
            for _, result in waiting:
                result.wait(max(0.0, deadline - time.monotonic()))
            raise


def _leave_signals_to_the_script() -> None:
    """In a process of the pool, which the script ends when it is stopped itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)


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
