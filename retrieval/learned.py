"""What a user's own engine has learned: an append-only file beside the memories that are built offline.

The file is a header of HEADER_BYTES and records of one size, each with its CRC-32, little-endian throughout:

    header    JSON (format, fingerprint of the backbone, checksum of the projection, l, c), blanks, CRC-32, line break
    record    the position and its continuation as a memory has them, keys, nodes behind it, day, game, kind

A position's last record is what holds; one of kind FORGOTTEN takes the position away. Records are added in one write
and reach the disk before it returns, so a kill at any byte costs at most what was being written: half a record at the
end is passed over, and cut off by the next write. Where more than half of the records are out of date, the file is
written anew in one step. Engines that learn at the same time take turns by a lock file, and each reads what the others
have added before it adds its own.

At most `limit` positions are kept. Those with the fewest nodes behind them go first, of these the oldest; what was
taught goes last.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dejavu.retrieval.atomic import WriteError, append, atomic_write
from dejavu.retrieval.build import BATCH_ROWS, Embed
from dejavu.retrieval.knn import ExactIndex
from dejavu.retrieval.memory import Memory, Provenance, encode_names
from dejavu.retrieval.moves import CONTINUATION_PLIES, NO_MOVE, POLICY_SIZE
from dejavu.retrieval.names import RESULTS

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORMAT = "dejavu-learned-1"
HEADER_BYTES = 256
LIMIT = 100_000
"""Positions that are kept: some 25 MB."""
FORGOTTEN, LEARNED, TAUGHT = 0, 1, 2
"""Kinds of records."""
TAUGHT_NODES = 2**32 - 1
"""Behind what a person has said: more than any search."""

_BLACK = 4
"""Added to a record's result where Black was to move."""
_HASH_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)
"""Odd and without a pattern: the four planes' shares of a position's hash."""
_LOCK_SECONDS = 5.0
_NAME_BYTES = 48
_SMALLEST_REWRITE = 64
"""Records out of date that are worth writing the file anew."""


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
                ("result", "u1"),  # 1 + index of RESULTS or 0; and _BLACK
                ("name", f"S{_NAME_BYTES}"),
                ("keys", "i1", (self.chunks, self.size)),
                ("crc", "<u4"),
            ]
        )


Records = NDArray[Any]


def result_of(stored: int) -> str:
    """The result that a record's column has: one of `names.RESULTS`, or empty."""
    index = stored % _BLACK
    return RESULTS[index - 1] if index else ""


def black_to_move(stored: int) -> bool:
    """What the same column says of the side to move."""
    return stored >= _BLACK


class LearnedMemory:
    """The learned positions of a file, which need not exist yet."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self.path = path
        self.space: Space | None = None
        """None before the file exists."""
        self.records: Records = np.empty(0)
        """Those that hold, in the order in which they were written."""
        self.damaged = 0
        """Records that were passed over since their sums are wrong."""
        self.written = 0
        """Records of the file, those damaged and out of date included."""
        self._limit = limit
        self._row_of: dict[bytes, int] | None = None
        """Packed planes -> row of `records`; made when it is first asked for."""
        self._stamp: tuple[int, int, int] | None = None
        self._snapshot: tuple[Memory, Memory] | None = None

    def __len__(self) -> int:
        return len(self.records)

    def refresh(self) -> bool:
        """Read the file again if it has changed; whether it has. Raises LearnedFileError."""
        try:
            status = self.path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return False
            data = self.path.read_bytes()
        except FileNotFoundError:
            changed = self._stamp is not None
            self.space, self._stamp, self.written, self.damaged = None, None, 0, 0
            self._hold(np.empty(0))
            return changed
        except OSError as error:
            raise LearnedFileError(f"{self.path} cannot be read: {error.strerror or error}") from None
        self.space = _read_header(self.path, data[:HEADER_BYTES])
        layout = self.space.record()
        self.written = (len(data) - HEADER_BYTES) // layout.itemsize
        records = np.frombuffer(data, layout, self.written, HEADER_BYTES)
        sound = _sound(records)
        self.damaged = int(self.written - sound.sum())
        self._hold(records if not self.damaged else records[sound])  # to copy a full file takes long
        self._stamp = stamp
        return True

    def find(self, planes: bytes) -> Any | None:
        """The record of a position, or None."""
        row = self._rows().get(planes)
        return None if row is None else self.records[row]

    def put(self, lessons: Sequence[Lesson], base: Memory, embed: Embed) -> int:
        """Remember lessons, but those of which more is known; -> how many were.

        `base` is the memory with whose projection and clusters keys are made, and `embed` its backbone.
        Raises LearnedFileError and WriteError; nothing is remembered then.
        """
        with self._turn():
            last = {lesson.planes: lesson for lesson in lessons if self._nodes(lesson.planes) <= lesson.nodes}
            if not last:
                return 0
            space = Space.of(base)
            layout = (self.space or space).record()
            records = _records(list(last.values()), layout)
            if self.space in (None, space):  # else all keys are made anew anyway
                _make_keys(records, base, embed)
            self._add(records, space)
            return len(records)

    def merge(self, other: LearnedMemory, base: Memory, embed: Embed, progress: Callable[[int, int], None]) -> int:
        """Take over what another file knows and this one does not, or with fewer nodes; -> how many positions.

        Days, games and results go with them. Arguments and errors as with `put` and `make_keys_anew`.
        """
        if not len(other):
            return 0
        with self._turn():
            identities = _identities(other.records["boards"])
            taken = [
                row for row, planes in enumerate(identities) if self._nodes(planes) < int(other.records["nodes"][row])
            ]
            if not taken:
                return 0
            space = Space.of(base)
            here = self.space or space
            records = other.records[taken]
            if other.space != here:
                records = _converted(records, here.record())
                if here == space:  # else all keys are made anew anyway
                    _make_keys(records, base, embed, progress)
            self._add(records, here)
            return len(records)

    def forget(self, positions: Sequence[bytes]) -> int:
        """Take positions away, by their packed planes; -> how many were there. Raises as `put` does."""
        with self._turn():
            known = [planes for planes in dict.fromkeys(positions) if planes in self._rows()]
            if not known or self.space is None:
                return 0
            records = np.zeros(len(known), self.space.record())
            records["boards"] = np.frombuffer(b"".join(known), "<u8").reshape(-1, 4)
            records["kind"] = FORGOTTEN
            self._add(records, self.space)
            return len(known)

    def has_keys_for(self, base: Memory) -> bool:
        """Whether its keys are those of this memory's backbone and projection."""
        return self.space is None or self.space == Space.of(base)

    def make_keys_anew(self, base: Memory, embed: Embed, progress: Callable[[int, int], None]) -> None:
        """Make all keys again, for another backbone or projection, and write the file anew in one step.

        It takes long, and meanwhile others may add to the file. Raises LearnedFileError and WriteError.
        """
        space = Space.of(base)
        records = _converted(self.records, space.record())
        _make_keys(records, base, embed, progress)
        known = dict(zip(_identities(records["boards"]), records[["keys", "cluster"]], strict=True))
        with self._turn():
            if self.space == space:  # another engine was quicker
                return
            current = _converted(self.records, space.record())
            fresh = np.ones(len(current), dtype=bool)
            for row, identity in enumerate(_identities(current["boards"])):
                if identity in known:
                    current["keys"][row], current["cluster"][row] = known[identity]
                    fresh[row] = False
            added = current[fresh]
            _make_keys(added, base, embed)
            current[fresh] = added
            self._rewrite(current, space)

    def repair(self) -> int:
        """Write the file anew without what is damaged or out of date; -> records left out. Raises as `put` does."""
        with self._turn():
            if self.space is None:
                return 0
            left_out = self.written - len(self.records)
            self._rewrite(self.records, self.space)
            return left_out

    def memory(self, base: Memory) -> Memory | None:
        """The positions as a memory beside `base`; None if there are none, or their keys are of another space.

        The same object until something changes.
        """
        if not len(self) or not self.has_keys_for(base):
            return None
        if self._snapshot is None or self._snapshot[0] is not base:
            self._snapshot = base, self._as_memory(base)
        return self._snapshot[1]

    def _as_memory(self, base: Memory) -> Memory:
        records = self.records
        numbers: dict[tuple[Any, ...], int] = {}
        columns = (records["name"], records["kind"], records["day"], records["result"] % _BLACK, records["game"])
        starts = _runs(columns)  # a game's positions lie together
        lines = zip(*(column[starts].tolist() for column in columns), strict=True)
        game = [numbers.setdefault(line, len(numbers)) for line in lines]
        # Games of one day mostly have the same name.
        named = {line: _line(*line) for line in dict.fromkeys(line[:4] for line in numbers)}
        names, offsets = encode_names([named[line[:4]] for line in numbers])
        columns_of_memory = ("keys", "boards", "clocks", "continuations", "wdl", "cluster")
        arrays: dict[str, Any] = {name: np.ascontiguousarray(records[name]) for name in columns_of_memory}
        return replace(
            base,
            **arrays,
            game=np.repeat(np.array(game, np.int32), np.diff(starts, append=len(records))),
            game_names=names,
            game_offsets=offsets,
            provenance=Provenance("what was learned here", "", date.today().isoformat()),
            added=(),
        )

    def _nodes(self, planes: bytes) -> int:
        """Nodes behind what is known of a position, -1 if nothing is."""
        record = self.find(planes)
        return -1 if record is None else int(record["nodes"])

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Nobody else writes meanwhile, and what others have written is known."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _lock(self.path.with_name(f"{self.path.name}.lock")):
                self.refresh()
                yield
        except OSError as error:
            raise WriteError.of(self.path, error) from error

    def _add(self, records: Records, space: Space) -> None:
        if self.space is None:
            self._rewrite(records, space)
            return
        layout = self.space.record()
        _seal(records)
        append(self.path, records.tobytes(), at=HEADER_BYTES + self.written * layout.itemsize)
        self.written += len(records)
        self._hold(np.concatenate([self.records, records]))
        outdated = self.written - len(self.records)
        if outdated >= _SMALLEST_REWRITE and outdated > len(self.records):
            self._rewrite(self.records, self.space)
        self._stamp = self._current_stamp()

    def _rewrite(self, records: Records, space: Space) -> None:
        records = records.copy()  # what was read cannot be written to
        _seal(records)
        with atomic_write(self.path) as file:
            file.write(_header(space) + records.tobytes())
        self.space, self.written, self.damaged = space, len(records), 0
        self._hold(records)
        self._stamp = self._current_stamp()

    def _current_stamp(self) -> tuple[int, int, int]:
        status = self.path.stat()
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _hold(self, records: Records) -> None:
        """Let those of the records hold that are the last of their positions, as many as there may be."""
        self._snapshot, self._row_of = None, None
        if not len(records):
            self.records = records
            return
        rows = _last_rows(records["boards"])
        rows = rows[records["kind"][rows] != FORGOTTEN]
        if len(rows) > self._limit:
            order = np.lexsort((rows, records["day"][rows], records["nodes"][rows]))
            rows = np.sort(rows[order[-self._limit :]])
        self.records = records if len(rows) == len(records) else records[rows]

    def _rows(self) -> dict[bytes, int]:
        if not len(self.records):
            return {}
        if self._row_of is None:
            self._row_of = dict(zip(_identities(self.records["boards"]), range(len(self.records)), strict=True))
        return self._row_of


def _line(name: bytes, kind: int, day: int, result: int) -> str:
    """The line that names a game, as `names.GameName` reads it."""
    how = "taught" if kind == TAUGHT else "learned"
    parts = [name.decode(errors="replace"), f"{how} {date.fromordinal(day).isoformat()}"]
    return ", ".join([*parts, *filter(None, [result_of(result)])])


def _records(lessons: Sequence[Lesson], layout: np.dtype[Any]) -> Records:
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
        record["result"] = (RESULTS.index(lesson.result) + 1 if lesson.result else 0) + _BLACK * lesson.black
        record["name"] = lesson.name.encode()[:_NAME_BYTES].decode(errors="ignore").encode()
    return records


def _make_keys(
    records: Records, base: Memory, embed: Embed, progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Fill in keys and clusters."""
    for start in range(0, len(records), BATCH_ROWS):
        part = records[start : start + BATCH_ROWS]
        boards = np.ascontiguousarray(part["boards"]).astype(np.uint64)
        keys = base.project(embed(boards, np.ascontiguousarray(part["clocks"])))
        part["keys"] = keys.astype(np.int8)
        _, cluster = ExactIndex(base.centroids).search(keys.reshape(len(keys), -1), 1)
        part["cluster"] = cluster[:, 0]
        progress(start + len(part), len(records))


def _converted(records: Records, layout: np.dtype[Any]) -> Records:
    """The records in another layout, without keys."""
    converted = np.zeros(len(records), layout)
    if len(records):
        for name in layout.names or ():
            if name not in ("keys", "cluster", "crc"):
                converted[name] = records[name]
    return converted


def _seal(records: Records) -> None:
    """Fill in the sums."""
    records["crc"] = _sums(records)


def _sums(records: Records) -> list[int]:
    size = records.dtype.itemsize
    data = np.ascontiguousarray(records).view(np.uint8).data
    return [zlib.crc32(data[start : start + size - 4]) for start in range(0, len(data), size)]


def _sound(records: Records) -> NDArray[np.bool_]:
    """[N] whether records are as they were written, and say what can be."""
    sound = records["crc"] == np.array(_sums(records), np.uint32)
    sound &= (records["continuations"] + np.uint16(1)).max(axis=1, initial=0) <= POLICY_SIZE
    sound &= (records["result"] <= _BLACK + len(RESULTS)) & (records["kind"] <= TAUGHT)
    return np.asarray(sound & ((records["day"] > 0) | (records["kind"] == FORGOTTEN)))


def _identities(boards: NDArray[Any]) -> list[bytes]:
    """Packed planes [N, 4] as bytes."""
    data = np.ascontiguousarray(boards, "<u8").tobytes()
    return [data[start : start + 32] for start in range(0, len(data), 32)]


def _last_rows(boards: NDArray[Any]) -> NDArray[np.int64]:
    """The last row of each position of packed planes [N, 4], in their order."""
    hashes = (np.ascontiguousarray(boards, np.uint64) * _HASH_FACTORS).sum(axis=1, dtype=np.uint64)
    values, counts = np.unique(hashes, return_counts=True)
    kept = np.ones(len(boards), bool)
    if len(values) < len(boards):  # most positions are met once, so that few need the comparison of all bytes
        again = np.flatnonzero(np.isin(hashes, values[counts > 1]))
        kept[again] = False
        kept[list(dict(zip(_identities(boards[again]), again.tolist(), strict=True)).values())] = True
    return np.flatnonzero(kept)


def _runs(columns: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """The first row of each run of equal rows."""
    starts = np.zeros(len(columns[0]), bool)
    starts[:1] = True
    for column in columns:
        starts[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(starts)


def _header(space: Space) -> bytes:
    text = json.dumps({"format": FORMAT, **space.__dict__}).encode().ljust(HEADER_BYTES - 9)
    return text + b"%08x\n" % zlib.crc32(text)


def _read_header(path: Path, header: bytes) -> Space:
    try:
        stored = json.loads(header[:-9])
        if stored.pop("format") != FORMAT or int(header[-9:], 16) != zlib.crc32(header[:-9]):
            raise ValueError
        return Space(**stored)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise LearnedFileError(f"{path} is not a file of learned positions, or its header is damaged") from None


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a lock file; raises OSError if another engine holds it for seconds."""
    with path.open("ab") as file:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                _try_lock(file.fileno())
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise OSError(f"another engine has held {path.name} for {_LOCK_SECONDS:.0f} seconds") from None
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
