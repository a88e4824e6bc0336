"""A lock file: processes that write the same file take turns."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What is wrong on a file system without locks, where writers have to do without taking turns."""

LOCK_SECONDS = 5.0
"""How long to wait for a lock where nobody is kept waiting."""


@contextlib.contextmanager
def hold_lock(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold a lock file, if its file system has locks; raises OSError if another program holds it for `seconds`."""
    with path.open("ab") as file:
        held = _wait_for_lock(path, file.fileno(), seconds)
        try:
            yield
        finally:
            if held and fcntl is None:
                _unlock(file.fileno())


def _wait_for_lock(path: Path, descriptor: int, seconds: float) -> bool:
    """Lock an open file; False where there are no locks. Raises OSError."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            _try_lock(descriptor)
            return True
        except (BlockingIOError, PermissionError):  # Windows says the second
            if time.monotonic() > deadline:
                raise OSError(f"another program has held {path.name} for {seconds:g} seconds") from None
            time.sleep(0.02)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return False
            raise


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
