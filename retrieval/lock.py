"""A lock file: processes that write the same file take turns."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_SECONDS = 5.0
"""How long to wait for a lock where nobody is kept waiting."""


@contextlib.contextmanager
def hold_lock(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold a lock file; raises OSError if another program holds it for `seconds`."""
    with path.open("ab") as file:
        deadline = time.monotonic() + seconds
        while True:
            try:
                _try_lock(file.fileno())
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise OSError(f"another program has held {path.name} for {seconds:g} seconds") from None
                time.sleep(0.02)
        try:
            yield
        finally:
            if fcntl is None:
                _unlock(file.fileno())


def _try_lock(descriptor: int) -> None:
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import msvcrt

    os.lseek(descriptor, 0, os.SEEK_SET)
    msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)


def _unlock(descriptor: int) -> None:
    import msvcrt

    os.lseek(descriptor, 0, os.SEEK_SET)
    msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined]
