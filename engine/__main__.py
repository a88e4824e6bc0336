"""The console command `dejavu`: the UCI engine on standard input and output; `dejavu explore` serves a page."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

from dejavu.engine.uci.protocol import UciLoop


def _lines() -> Iterator[str]:
    """Lines of standard input; bytes that are no UTF-8 must not stop the engine."""
    for line in sys.stdin.buffer:
        yield line.decode("utf-8", "replace")


def _write(line: str) -> None:
    """Print one line at once."""
    sys.stdout.buffer.write(line.encode("utf-8", "replace") + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Run the engine until `quit`, the end of input, a signal, or a GUI that has gone away; or serve the page."""
    if sys.argv[1:2] == ["explore"]:
        from dejavu.engine.explore.command import main as explore

        explore(sys.argv[2:])
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        UciLoop(_write).run(_lines())
    # The import of torch may be under way in another thread, and an ordinary exit would wait for it.
    os._exit(0)


if __name__ == "__main__":
    main()
