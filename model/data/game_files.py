"""Game files: PGN, plain or compressed (.zst, .bz2, .gz), game by game."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TextIO

import zstandard

from dejavu.model.data.games import split_games
from dejavu.retrieval.text import plain

BROKEN_GAMES_NAMED = 20
LARGEST_WINDOW = 2**31
"""What `zstd --long=31` needs; the library's own limit is an eighth of it."""


class GameFileError(ValueError):
    """A game file that cannot be used; the message is one sentence naming it and what is wrong."""


def read_games(path: Path) -> Iterator[str]:
    """The text of every game of a file.

    Raises GameFileError for a damaged file, though perhaps only after games from before the damage was found.
    """
    with open_text(path) as lines:
        yield from split_games(lines)


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """The lines of a file, decompressed by its ending; bytes that are no UTF-8 are replaced.

    Raises GameFileError, inside the block where the damage is found, too.
    """
    try:
        with _open(path) as lines:
            yield lines
    except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise GameFileError(f"game file {path} is damaged: {error}") from None
    except OSError as error:
        # bz2 raises one without a number for damage.
        problem = f"cannot be read: {error.strerror}" if error.strerror else f"is damaged: {error}"
        raise GameFileError(f"game file {path} {problem}") from None


def name_broken(problems: Sequence[str]) -> None:
    """Say on standard error what is wrong with games, a line each; of many only the first."""
    for line in problems[:BROKEN_GAMES_NAMED]:
        print(plain(line), file=sys.stderr)
    if len(problems) > BROKEN_GAMES_NAMED:
        print(f"and {len(problems) - BROKEN_GAMES_NAMED} more", file=sys.stderr)


def _open(path: Path) -> TextIO:
    if path.suffix == ".zst":
        frames = io.BufferedReader(_ZstandardFrames(path.open("rb")))
        return io.TextIOWrapper(frames, encoding="utf-8-sig", errors="replace")
    if path.suffix == ".bz2":
        return bz2.open(path, "rt", encoding="utf-8-sig", errors="replace")
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace")
    return path.open(encoding="utf-8-sig", errors="replace")


class _ZstandardFrames(io.RawIOBase):
    """The content of a .zst file; unlike the library's own stream, it raises EOFError where a frame is cut short."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._content = memoryview(b"")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._content:
            compressed = self._file.read(zstandard.DECOMPRESSION_RECOMMENDED_INPUT_SIZE)
            if not compressed:
                if self._frame is not None:
                    raise EOFError("it ends in the middle of its compressed data")
                return 0
            self._content = memoryview(b"".join(self._decompressed(compressed)))
        size = min(len(buffer), len(self._content))
        buffer[:size] = self._content[:size]
        self._content = self._content[size:]
        return size

    def _decompressed(self, compressed: bytes) -> Iterator[bytes]:
        while compressed:
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW).decompressobj()
            yield self._frame.decompress(compressed)
            compressed = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
