"""Lines of processes, of which none waits for a process that has ended."""

from __future__ import annotations

from typing import IO


def next_line(stream: IO[str]) -> str:
    """The next line that a process says; where it has ended the test fails, since it would say nothing for ever."""
    line = stream.readline()
    assert line, "the process has ended"
    return line
