"""Work divided among processes: in order, and left without anything waiting."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dejavu.model.data.processes import in_processes

LARGE = 2_000_000
"""Bytes that a process cannot say at once."""


def at_length(number: int) -> bytes:
    return bytes([number]) * LARGE


def fail_at_ten(number: int) -> bytes:
    if number == 10:
        raise ValueError("ten")
    return at_length(number)


def test_everything_comes_in_order() -> None:
    done = list(in_processes(at_length, range(30), 2))
    assert [(task, result[0], len(result)) for task, result in done] == [(n, n, LARGE) for n in range(30)]
    assert not multiprocessing.active_children()


def test_an_error_of_the_work_is_raised_and_no_process_stays() -> None:
    with pytest.raises(ValueError, match="ten"), closing(in_processes(fail_at_ten, range(60), 2)) as results:
        for _ in results:
            pass
    assert not multiprocessing.active_children()


def test_who_takes_no_more_leaves_no_process() -> None:
    for _ in range(10):
        with closing(in_processes(at_length, range(60), 2)) as results:
            assert next(results)[0] == 0
        assert not multiprocessing.active_children()


@pytest.mark.skipif(os.name != "posix", reason="signals to a group of processes")
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_of_them_ends_them(by: signal.Signals) -> None:
    code = """if True:
        from contextlib import closing
        from test_processes import at_length, in_processes

        with closing(in_processes(at_length, iter(lambda: 1, 2), 2)) as results:
            for _ in results:
                print("result", flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.path.dirname(__file__)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for _ in range(20):
        assert process.stdout.readline() == "result\n"
    os.killpg(process.pid, by)
    process.communicate(timeout=30)  # the pipe is everybody's: it ends when all have ended
    assert process.returncode


class Garbage:
    """A cycle that tells when it is freed, as a compiled network ends its threads then."""

    def __init__(self, freed: Callable[[], object]) -> None:
        self.itself = self
        self.freed = freed

    def __del__(self) -> None:
        self.freed()


def collect(task: int) -> int:
    gc.collect()
    return os.getpid()


def test_processes_do_not_free_what_they_were_forked_with(tmp_path: Path) -> None:
    gc.collect()
    gc.disable()
    try:
        Garbage(lambda: (tmp_path / str(os.getpid())).touch())
        with closing(in_processes(collect, range(4), 2)) as found:
            workers = {worker for _, worker in found}
        assert os.getpid() not in workers
        assert not gc.isenabled()
        gc.collect()
    finally:
        gc.enable()
    assert [path.name for path in tmp_path.iterdir()] == [str(os.getpid())]
