"""How a script ends before its time: with one sentence and never with a traceback."""

from __future__ import annotations

import importlib.util
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dejavu.retrieval.atomic import WriteError
from dejavu.retrieval.text import plain

GOES_ON = "the same command goes on from here"
INTERRUPTED = 130
"""Exit status of what Ctrl-C has ended, as shells have it."""


@contextmanager
def one_sentence(script: str, *errors: type[Exception], stopped: str = "nothing was written") -> Iterator[None]:
    """Let any of `errors` end the process with its message.

    Ctrl-C, and a file that cannot be written, end it with what is then true of the work.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console need not know every letter of a name
    try:
        yield
    except WriteError as error:
        sys.exit(f"{script}: {error}; {stopped}")
    except errors as error:
        sys.exit(f"{script}: {plain(_sentence(error))}")
    except KeyboardInterrupt:
        print(f"{script}: stopped; {stopped}", file=sys.stderr)
        sys.exit(INTERRUPTED)


def need_matplotlib(script: str) -> None:
    """End before long work whose outcome could not be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        sys.exit(f'{script} needs matplotlib: run pip install ".[train]" in the folder of Dejavu')


def _sentence(error: Exception) -> str:
    """The message; an error of the system without its number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
