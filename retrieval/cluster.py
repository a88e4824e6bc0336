"""Work on the machines of a Ray cluster, and go on when one of them is lost.

Jobs go out in bundles, a bundle to a worker with a process of its own. Each result comes back as soon as it is there,
so a worker that dies loses only what it had not finished: that is given to another. Ray's own retries are not used,
since they would begin a whole bundle again.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

J = TypeVar("J")
R = TypeVar("R")
Work = Callable[[Mapping[int, J]], Iterator[tuple[int, R]]]
"""Jobs by number -> results with their jobs' numbers, in any order. Sent to the workers, so it must be picklable."""

_MOST_LOSSES = 3
"""A job under which so many workers died is to blame itself."""


class ClusterError(RuntimeError):
    """A cluster that cannot be used, or work that fails on it; the message is one sentence."""


class Cluster:
    """A Ray cluster; Dejavu must be installed on its machines."""

    def __init__(self, address: str, threads: int, warn: Callable[[str], None]) -> None:
        """Connect to the cluster at `address`, or start one on this machine if that is `local`.

        A worker gets `threads` CPUs; `warn` is told of workers that die. Raises ClusterError.
        """
        try:
            import ray
        except ImportError:
            raise ClusterError("Ray is not installed: pip install 'dejavu-chess[cluster]'") from None
        self._ray: Any = ray
        self._threads = threads
        self._warn = warn
        try:
            ray.init(address=address, log_to_driver=False, include_dashboard=None)
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ClusterError(f"there is no Ray cluster at '{address}' ({reason})") from None

    def workers(self) -> int:
        """Workers that the cluster has room for now; machines may come and go."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 0)) // self._threads)

    def run(self, work: Work[J, R], jobs: Mapping[int, J], bundle: int) -> Iterator[tuple[int, R]]:
        """Every job's result with its number, once each, as they come; `bundle` jobs at a time go to a worker.

        Raises:
            ClusterError: the work failed, or a job ends every worker that tries it.
        """
        ray = self._ray
        start = ray.remote(num_cpus=self._threads, num_returns="streaming", max_retries=0)(_work).remote
        shared = ray.put(work)
        waiting = collections.deque(jobs)
        losses: collections.Counter[int] = collections.Counter()
        running: dict[Any, dict[int, J]] = {}
        while waiting or running:
            while waiting and len(running) < self.workers():
                numbers = [waiting.popleft() for _ in range(min(bundle, len(waiting)))]
                unfinished = {number: jobs[number] for number in numbers}
                running[start(shared, unfinished)] = unfinished
            ready, _ = ray.wait(list(running), num_returns=1)
            task = ready[0]
            try:
                number, result = ray.get(next(task))
            except StopIteration:
                del running[task]
            except ray.exceptions.RayTaskError as error:
                raise ClusterError(f"the work failed on a worker: {error.cause}") from None
            except ray.exceptions.RayError as error:
                lost = running.pop(task)
                self._warn(f"a worker was lost ({type(error).__name__}); {len(lost)} jobs go to another")
                losses.update(list(lost))
                if max(losses.values(), default=0) >= _MOST_LOSSES:  # it may have had nothing left to do
                    raise ClusterError(f"{_MOST_LOSSES} workers were lost over the same job") from None
                waiting.extendleft(lost)
            else:
                del running[task][number]
                yield number, result

    def close(self) -> None:
        """Disconnect; a cluster started here ends."""
        self._ray.shutdown()


def _work(work: Work[J, R], jobs: dict[int, J]) -> Iterator[tuple[int, R]]:
    yield from work(jobs)
