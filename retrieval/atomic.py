"""Files that are whole whenever the disk fills or the process is killed at the write.

What replaces a file is first written beside it, to `NAME.xxxxxxxx.partial`, which a living writer has locked: whoever
writes the file next removes those that killed writers have left, and only those. What is added to a file is there in
full or not at all.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError

try:
    import fcntl
except ImportError:  # Windows, where a file that is open can neither be removed nor replaced
    fcntl = None  # type: ignore[assignment]

_TOKEN_BYTES = 4
_TOKEN = "[0-9a-f]" * 2 * _TOKEN_BYTES
_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")


class WriteError(OSError):
    """A file could not be written; the message is one sentence that names it and what is wrong."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be written: {reason}")

    @classmethod
    def of(cls, path: Path, error: OSError | SafetensorError) -> WriteError:
        """What was wrong, in the system's words; a WriteError stays as it is."""
        if isinstance(error, WriteError):
            return error
        if isinstance(error, OSError):
            return cls(path, error.strerror or str(error))
        number = _SYSTEM_ERROR.search(str(error))  # all that the library tells of an error of the system
        return cls(path, os.strerror(int(number[1])) if number else str(error))


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, by its handle or its `name`, that takes the place of `path` once it is on the disk.

    Where anything fails `path` stays as it was. Raises WriteError, also for errors of the system inside the block.
    """
    try:
        target = path.resolve()  # a link stays, and what it leads to is replaced
        if target.exists() and not target.is_file():  # of a device or a pipe nothing can take the place
            with target.open("wb") as file:
                yield file
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(target.parent, glob.escape(target.name))
        with _begin(target) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if fcntl is None:
                    file.close()
                os.replace(file.name, target)
            except BaseException:
                with contextlib.suppress(OSError):  # what could not be written still cannot
                    file.close()
                with contextlib.suppress(OSError):
                    os.unlink(file.name)
                raise
        _sync_folder(target.parent)
    except (OSError, SafetensorError) as error:
        raise WriteError.of(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Let `text` be what `path` holds, see `atomic_write`."""
    with atomic_write(path) as file:
        file.write(text.encode())


def append(path: Path, data: bytes, at: int | None = None, sync: bool = True) -> None:
    """Add `data` to a file, and wait until it is on the disk if `sync`; where that fails, the file is as before.

    What lies after the byte `at` is cut off first. Raises WriteError.
    """
    try:
        is_new = not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("ab", buffering=0) as file:
                end = file.tell() if at is None else at
                if file.tell() > end:
                    file.truncate(end)
                try:
                    rest = memoryview(data)
                    while rest:
                        rest = rest[file.write(rest) :]
                    if sync and path.is_file():
                        os.fsync(file.fileno())
                except BaseException:
                    with contextlib.suppress(OSError):  # a device
                        file.truncate(end)
                    raise
        except BaseException:
            if is_new:
                path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise WriteError.of(path, error) from error


def remove_abandoned(folder: Path, names: str = "*") -> None:
    """Remove what killed writers of the files `names`, a pattern, left half written in a folder."""
    for partial in folder.glob(f"{names}.{_TOKEN}.partial"):
        with contextlib.suppress(OSError):
            if fcntl is None:
                partial.unlink()
                continue
            with partial.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                partial.unlink()


def _begin(target: Path) -> BinaryIO:
    """A new partial file of `target`, locked."""
    while True:
        partial = target.with_name(f"{target.name}.{secrets.token_hex(_TOKEN_BYTES)}.partial")
        file = partial.open("xb")
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks, where nobody can remove it either
                fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:  # nobody took it for abandoned before it was locked
            return file
        file.close()


def _sync_folder(folder: Path) -> None:
    """Let the new name be on the disk, too, where the system can."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
