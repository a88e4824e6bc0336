"""How a script ends before its time: with one sentence and never with a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dejavu.model.text import plain

GOES_ON = "the same command goes on from here"
INTERRUPTED = 130
"""Exit status of what Ctrl-C has ended, as shells have it."""


@contextmanager
def one_sentence(script: str, *errors: type[Exception], stopped: str = "nothing was written") -> Iterator[None]:
    """Let any of `errors` end the process with its message, and Ctrl-C with what is then true of the work."""
    try:
        yield
    except errors as error:
        sys.exit(f"{script}: {plain(str(error))}")
    except KeyboardInterrupt:
        print(f"{script}: stopped; {stopped}", file=sys.stderr)
        sys.exit(INTERRUPTED)
