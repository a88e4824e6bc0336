"""The bytes of a file of learned positions: header and records.

The file is a header of HEADER_BYTES and records of one size, each with its CRC-32, little-endian throughout:

    header    JSON (format, fingerprint of the backbone, checksum of the projection, l, c), blanks, CRC-32, line break
    record    the position and its continuation as a memory has them, keys, nodes behind it, day, game, kind
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dejavu.retrieval.memory import Memory
from dejavu.retrieval.moves import CONTINUATION_PLIES, NO_MOVE, POLICY_SIZE
from dejavu.retrieval.names import RESULTS

FORMAT = "dejavu-learned-1"
HEADER_BYTES = 256
FORGOTTEN, LEARNED, TAUGHT, PROVEN = 0, 1, 2, 3
"""Kinds of records. Those of positions that are proven won or lost are PROVEN plus the plies to mate."""
FAR = 252
"""Plies to mate that are not known, as of a win by tablebases, or so many or more."""
TAUGHT_NODES = 2**32 - 1
"""Behind what a person has said: more than any search."""
PROVEN_NODES = TAUGHT_NODES - 1
"""Behind what is proven: more than any search that is not a proof."""
BLACK = 4
"""Added to a record's result where Black was to move."""
_NAME_BYTES = 48


class LearnedFileError(ValueError):
    """A file that cannot be used; the message is one sentence that names it and what is wrong."""


class Lesson(NamedTuple):
    """What is to be remembered of one position."""

    planes: bytes
    """Its packed planes, 32 bytes."""
    clock: int
    continuation: Sequence[int]
    """Policy indices, the best move first."""
    wdl: tuple[float, float, float]
    """Of the side to move; a third each where nobody has evaluated the position."""
    nodes: int
    name: str
    """Of the game."""
    result: str = ""
    """One of `names.RESULTS`, or empty."""
    game: int = 0
    """A number that lessons of one game share: the second it ended at."""
    kind: int = LEARNED
    black: bool = False
    """Whether Black was to move, which the planes do not tell."""


@dataclass(frozen=True)
class Space:
    """What keys are made with; keys of another space mean nothing."""

    fingerprint: str
    checksum: str
    chunks: int
    size: int

    @classmethod
    def of(cls, memory: Memory) -> Space:
        """That of a memory, to which the learned positions are added."""
        checksum = 0
        for array in (memory.key_mean, memory.key_projection, memory.centroids):
            checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
        return cls(memory.fingerprint, f"{checksum:08x}", *memory.keys.shape[1:])

    def record(self) -> np.dtype[Any]:
        """The layout of a record."""
        return np.dtype(
            [
                ("boards", "<u8", (4,)),
                ("continuations", "<u2", (CONTINUATION_PLIES,)),
                ("nodes", "<u4"),
                ("day", "<u4"),  # of the proleptic Gregorian calendar, 1 being the first of the year 1
                ("game", "<u4"),
                ("cluster", "<u2"),
                ("clocks", "u1"),
                ("wdl", "u1", (3,)),
                ("kind", "u1"),
                ("result", "u1"),  # 1 + index of RESULTS or 0; and BLACK
                ("name", f"S{_NAME_BYTES}"),
                ("keys", "i1", (self.chunks, self.size)),
                ("crc", "<u4"),
            ]
        )


Records = NDArray[Any]


def result_of(stored: int) -> str:
    """The result that a record's column has: one of `names.RESULTS`, or empty."""
    index = stored % BLACK
    return RESULTS[index - 1] if index else ""


def black_to_move(stored: int) -> bool:
    """What the same column says of the side to move."""
    return stored >= BLACK


def moves_to_mate(kind: int) -> int | None:
    """Of a position that is proven won or lost; None if it is not, or they are not known."""
    return (kind - PROVEN + 1) // 2 if PROVEN <= kind < PROVEN + FAR else None


def certainty(kind: int) -> str:
    """How sure a position's result is, in words; empty if it is not proven."""
    moves = moves_to_mate(kind)
    if moves is not None:
        return f"mate in {moves}"
    return "proven" if kind >= PROVEN else ""


def line_of(name: bytes, kind: int, day: int, result: int) -> str:
    """The line that names a game, as `names.GameName` reads it."""
    how = "taught" if kind == TAUGHT else "learned"
    parts = [name.decode(errors="replace"), f"{how} {date.fromordinal(day).isoformat()}", certainty(kind)]
    parts = list(filter(None, parts))
    return ", ".join([*parts, *filter(None, [result_of(result)])])


def records_of(lessons: Sequence[Lesson], layout: np.dtype[Any]) -> Records:
    """A record [N] of each lesson, learned today, without keys and sums."""
    records = np.zeros(len(lessons), layout)
    records["continuations"] = NO_MOVE
    records["day"] = date.today().toordinal()
    for record, lesson in zip(records, lessons, strict=True):
        record["boards"] = np.frombuffer(lesson.planes, "<u8")
        moves = list(lesson.continuation)[:CONTINUATION_PLIES]
        record["continuations"][: len(moves)] = moves
        record["nodes"] = min(lesson.nodes, TAUGHT_NODES)
        record["game"] = lesson.game
        record["clocks"] = lesson.clock
        record["wdl"] = np.rint(np.array(lesson.wdl) * 255)
        record["kind"] = lesson.kind
        record["result"] = (RESULTS.index(lesson.result) + 1 if lesson.result else 0) + BLACK * lesson.black
        record["name"] = lesson.name.encode()[:_NAME_BYTES].decode(errors="ignore").encode()
    return records


def converted(records: Records, layout: np.dtype[Any]) -> Records:
    """The records in another layout, without keys."""
    others = np.zeros(len(records), layout)
    if len(records):
        for name in layout.names or ():
            if name not in ("keys", "cluster", "crc"):
                others[name] = records[name]
    return others


def seal(records: Records) -> None:
    """Fill in the sums."""
    records["crc"] = _sums(records)


def _sums(records: Records) -> list[int]:
    size = records.dtype.itemsize
    data = np.ascontiguousarray(records).view(np.uint8).data
    return [zlib.crc32(data[start : start + size - 4]) for start in range(0, len(data), size)]


def are_sound(records: Records) -> NDArray[np.bool_]:
    """[N] whether records are as they were written, and say what can be."""
    sound = records["crc"] == np.array(_sums(records), np.uint32)
    sound &= (records["continuations"] + np.uint16(1)).max(axis=1, initial=0) <= POLICY_SIZE
    sound &= records["result"] <= BLACK + len(RESULTS)
    # What is proven has a move, and the mate is not yet on the board.
    has_proof = (records["kind"] > PROVEN) & (records["continuations"][:, 0] != NO_MOVE)
    sound &= (records["kind"] < PROVEN) | has_proof
    return np.asarray(sound & ((records["day"] > 0) | (records["kind"] == FORGOTTEN)))


def header_of(space: Space) -> bytes:
    """The HEADER_BYTES that a file of this space begins with."""
    text = json.dumps({"format": FORMAT, **space.__dict__}).encode().ljust(HEADER_BYTES - 9)
    return text + b"%08x\n" % zlib.crc32(text)


def read_header(path: Path, header: bytes) -> Space:
    """The space that the header of the file at `path` names; raises LearnedFileError."""
    try:
        stored = json.loads(header[:-9])
        if stored.pop("format") != FORMAT or int(header[-9:], 16) != zlib.crc32(header[:-9]):
            raise ValueError
        return Space(**stored)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise LearnedFileError(f"{path} is not a file of learned positions, or its header is damaged") from None
