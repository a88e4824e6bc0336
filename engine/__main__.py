"""The console command `dejavu`: the UCI engine on standard input and output; `dejavu explore` serves a page."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

from dejavu.engine.uci.protocol import UciLoop, full_name

USAGE = """\
dejavu                 the UCI engine, for a GUI or a match program; at a terminal type uci, go movetime 2000, quit
dejavu bench [NODES]   nodes a second on 12 positions, NODES each (200)
dejavu explore         a page in the browser that shows what the engine remembers (dejavu explore --help)
dejavu --version       its name and that of its net"""


def _lines() -> Iterator[str]:
    """Lines of standard input; bytes that are no UTF-8 must not stop the engine."""
    for line in sys.stdin.buffer:
        yield line.decode("utf-8", "replace")


def _write(line: str) -> None:
    """Print one line at once."""
    sys.stdout.buffer.write(line.encode("utf-8", "replace") + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Run the engine until `quit`, the end of input, a signal, or a GUI that has gone away; or do what is asked."""
    command, rest = sys.argv[1:2], sys.argv[2:]
    if command == ["explore"]:
        from dejavu.engine.explore.command import main as explore

        explore(rest)
        return
    if command in (["--version"], ["-V"]) and not rest:
        print(full_name())
        return
    if command in (["--help"], ["-h"]):
        print(USAGE)
        return
    if command == ["bench"] and len(rest) < 2 and all(word.isdecimal() for word in rest):
        engine = UciLoop(_write)
        engine.obey(" ".join(["bench", *rest]))
        engine.session.wait()
        return
    if command:
        sys.exit(f"dejavu: there is nothing called '{' '.join(sys.argv[1:])}'\n\n{USAGE}")
    if sys.stdin.isatty() and sys.stdout.isatty():
        print(f"{full_name()}: a UCI engine; type uci, go movetime 2000, eval or quit (--help says more)", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        UciLoop(_write).run(_lines())
    # The import of torch may be under way in another thread, and an ordinary exit would wait for it.
    os._exit(0)


if __name__ == "__main__":
    main()
