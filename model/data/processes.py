"""Work divided among processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.pool import AsyncResult
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
TASKS_AHEAD = 8


def in_processes(work: Callable[[T], R], tasks: Iterable[T], processes: int) -> Iterator[tuple[T, R]]:
    """Every task and what `work`, a function of a module, makes of it; in their order.

    Only a few are taken ahead, or a large file would fill the RAM; and all of it in this thread, so that nothing is
    left waiting when the script is stopped. An error of `work` is raised here.
    """
    with multiprocessing.Pool(processes, _leave_signals_to_the_script) as pool:
        waiting: deque[tuple[T, AsyncResult[R]]] = deque()
        for task in tasks:
            waiting.append((task, pool.apply_async(work, (task,))))
            if len(waiting) > TASKS_AHEAD * processes:
                oldest, result = waiting.popleft()
                yield oldest, result.get()
        for oldest, result in waiting:
            yield oldest, result.get()


def _leave_signals_to_the_script() -> None:
    """In a process of the pool, which the script ends when it is stopped itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
