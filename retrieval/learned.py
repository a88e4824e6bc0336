"""What a user's own engine has learned: an append-only file beside the memories that are built offline.

Its bytes are those of `learned_records`. A position's last record is what holds; one of kind FORGOTTEN takes the
position away. Records are added in one write and reach the disk before it returns, so a kill at any byte costs at most
what was being written: half a record at the end is passed over, and cut off by the next write. Where more than half of
the records are out of date, the file is written anew in one step. Engines that learn at the same time take turns by a
lock file, and each reads what the others have added before it adds its own.

Keys are of one network and one memory. For others they are made anew: in memory alone, or for good, where the file is
written anew. Whoever adds to a file of others leaves the keys blank, which those make in memory.

At most `limit` positions are kept. Those with the fewest nodes behind them go first, of these the oldest; what is
proven or taught goes last.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dejavu.retrieval.atomic import WriteError, append, atomic_write
from dejavu.retrieval.build import BATCH_ROWS, Embed
from dejavu.retrieval.hashes import board_hashes
from dejavu.retrieval.knn import ExactIndex
from dejavu.retrieval.learned_keys import KeysBeside
from dejavu.retrieval.learned_records import (
    BLACK,
    FORGOTTEN,
    HEADER_BYTES,
    LearnedFileError,
    Lesson,
    Records,
    Space,
    are_sound,
    converted,
    header_of,
    line_of,
    read_header,
    records_of,
    seal,
)
from dejavu.retrieval.lock import LOCK_SECONDS, hold_lock
from dejavu.retrieval.memory import Memory, Provenance, encode_names

LIMIT = 100_000
"""Positions that are kept: some 25 MB."""
_SMALLEST_REWRITE = 64
"""Records out of date that are worth writing the file anew."""


def _ignore(done: int, total: int) -> None:
    pass


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
        self._keys = KeysBeside()
        self._snapshot: tuple[Memory, Memory | None, bool] | None = None
        """The positions beside a memory, and whether all have keys."""

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
        self.space = read_header(self.path, data[:HEADER_BYTES])
        layout = self.space.record()
        self.written = (len(data) - HEADER_BYTES) // layout.itemsize
        records = np.frombuffer(data, layout, self.written, HEADER_BYTES)
        sound = are_sound(records)
        self.damaged = int(self.written - sound.sum())
        self._hold(records if not self.damaged else records[sound])  # to copy a full file takes long
        self._stamp = stamp
        return True

    def find(self, planes: bytes) -> Any | None:
        """The record of a position, or None."""
        row = self._rows().get(planes)
        return None if row is None else self.records[row]

    def nodes(self, planes: bytes) -> int:
        """Nodes behind what is known of a position, -1 if nothing is."""
        record = self.find(planes)
        return -1 if record is None else int(record["nodes"])

    def put(self, lessons: Sequence[Lesson], base: Memory, embed: Embed, patience: float = LOCK_SECONDS) -> int:
        """Remember lessons, but those of which more is known, by the file or by one of them; -> how many were.

        `base` is the memory with whose projection and clusters keys are made, and `embed` its backbone; `patience` are
        the seconds to wait for whoever else is writing. Raises LearnedFileError and WriteError; nothing is remembered
        then.
        """
        with self._turn(patience):
            held = that_hold(lessons, self.nodes)
            if not held:
                return 0
            space = Space.of(base)
            here = self.space if self.space is not None and len(self) else space
            records = records_of(list(held.values()), here.record())
            if here == space:
                _make_keys(records, base, embed)
            else:
                keyed = converted(records, space.record())
                _make_keys(keyed, base, embed)
                self._keys.add(keyed, space)
            self._add(records, here)
            return len(records)

    def merge(self, other: LearnedMemory, base: Memory, embed: Embed, progress: Callable[[int, int], None]) -> int:
        """Take over what another file knows and this one does not, or with fewer nodes; -> how many positions.

        Days, games and results go with them. Arguments and errors as with `put` and `make_keys_anew`.
        """
        if not len(other):
            return 0
        with self._turn():
            positions = identities(other.records["boards"])
            taken = [
                row for row, planes in enumerate(positions) if self.nodes(planes) < int(other.records["nodes"][row])
            ]
            if not taken:
                return 0
            space = Space.of(base)
            here = self.space or space
            records = other.records[taken]
            if other.space != here:
                records = converted(records, here.record())
                if here == space:
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
        """Whether all positions have keys of this memory's backbone and projection."""
        return self._beside(base)[1]

    def make_keys(self, base: Memory, embed: Embed, progress: Callable[[int, int], None] = _ignore) -> None:
        """Make the keys that are lacking for this backbone and projection; the file stays as it is."""
        records, lacking = self._keyed(base)
        made = records[lacking]
        if len(made):
            _make_keys(made, base, embed, progress)
            self._keys.add(made, Space.of(base))
            self._snapshot = None

    def make_keys_anew(self, base: Memory, embed: Embed, progress: Callable[[int, int], None] = _ignore) -> None:
        """Make the keys that are lacking for this backbone and projection, and write the file anew in one step.

        It takes long, and meanwhile others may add to the file. Raises LearnedFileError and WriteError.
        """
        self.make_keys(base, embed, progress)
        space = Space.of(base)
        with self._turn():
            if self.space is None or (self.space == space and _have_keys(self.records).all()):
                return  # another engine was quicker
            self.make_keys(base, embed)
            self._rewrite(self._keyed(base)[0], space)

    def take_keys(self, other: LearnedMemory) -> None:
        """Know the keys, too, that another reader of the file has made."""
        self._keys.add_all(other._keys)
        self._snapshot = None

    def repair(self) -> int:
        """Write the file anew without what is damaged or out of date; -> records left out. Raises as `put` does."""
        with self._turn():
            if self.space is None:
                return 0
            left_out = self.written - len(self.records)
            self._rewrite(self.records, self.space)
            return left_out

    def memory(self, base: Memory) -> Memory | None:
        """The positions that have keys for it as a memory beside `base`; None if there are none.

        The same object until something changes.
        """
        return self._beside(base)[0]

    def _beside(self, base: Memory) -> tuple[Memory | None, bool]:
        """As `memory` and `has_keys_for`."""
        if self._snapshot is None or self._snapshot[0] is not base:
            records, lacking = self._keyed(base)
            keyed = records[~lacking] if lacking.any() else records  # to copy a full file takes long
            beside = self._as_memory(keyed, base) if len(keyed) else None
            self._snapshot = base, beside, not lacking.any()
        return self._snapshot[1:]

    def _keyed(self, base: Memory) -> tuple[Records, NDArray[np.bool_]]:
        """The records with the keys for `base` that are known, and [N] which of them lack theirs."""
        if self.space is None:
            return self.records, np.zeros(0, bool)
        space, records = Space.of(base), self.records
        lacking = np.ones(len(records), bool)
        if self.space == space:
            lacking = ~_have_keys(records)
            if not lacking.any():
                return records, lacking
        records = converted(records, space.record()) if self.space != space else records.copy()
        part = records[lacking]
        filled = self._keys.fill(part, space)
        records[lacking] = part
        lacking[lacking] = ~filled
        return records, lacking

    def _as_memory(self, records: Records, base: Memory) -> Memory:
        numbers: dict[tuple[Any, ...], int] = {}
        # What was taught or analysed is of no game, and so is a game of its own.
        of_game = np.where(records["game"], records["game"].astype(np.int64), -1 - np.arange(len(records)))
        columns = (records["name"], records["kind"], records["day"], records["result"] % BLACK, of_game)
        starts = _runs(columns)  # a game's positions lie together
        lines = zip(*(column[starts].tolist() for column in columns), strict=True)
        game = [numbers.setdefault(line, len(numbers)) for line in lines]
        # Games of one day mostly have the same name.
        named = {line: line_of(*line) for line in dict.fromkeys(line[:4] for line in numbers)}
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

    @contextlib.contextmanager
    def _turn(self, patience: float = LOCK_SECONDS) -> Iterator[None]:
        """Nobody else writes meanwhile, and what others have written is known."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with hold_lock(self.path.with_name(f"{self.path.name}.lock"), patience):
                self.refresh()
                yield
        except OSError as error:
            raise WriteError.of(self.path, error) from error

    def _add(self, records: Records, space: Space) -> None:
        if self.space != space:
            self._rewrite(records, space)
            return
        layout = self.space.record()
        seal(records)
        append(self.path, records.tobytes(), at=HEADER_BYTES + self.written * layout.itemsize)
        self.written += len(records)
        self._hold(np.concatenate([self.records, records]))
        outdated = self.written - len(self.records)
        if outdated >= _SMALLEST_REWRITE and outdated > len(self.records):
            self._rewrite(self.records, self.space)
        self._stamp = self._current_stamp()

    def _rewrite(self, records: Records, space: Space) -> None:
        records = records.copy()  # what was read cannot be written to
        seal(records)
        with atomic_write(self.path) as file:
            file.write(header_of(space) + records.tobytes())
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
            self._row_of = dict(zip(identities(self.records["boards"]), range(len(self.records)), strict=True))
        return self._row_of


def that_hold(lessons: Sequence[Lesson], nodes: Callable[[bytes], int]) -> dict[bytes, Lesson]:
    """The lessons that hold, by position: each has as many nodes as what was known before, or more.

    `nodes` tells how many stand behind what is known without the lessons.
    """
    held: dict[bytes, Lesson] = {}
    for lesson in lessons:
        before = held.get(lesson.planes)
        if lesson.nodes >= (nodes(lesson.planes) if before is None else before.nodes):
            held[lesson.planes] = lesson
    return held


def _have_keys(records: Records) -> NDArray[np.bool_]:
    """[N] which have keys: those of whoever wrote into a file of another space are blank."""
    return np.asarray(records["keys"].any(axis=(1, 2)))


def _make_keys(records: Records, base: Memory, embed: Embed, progress: Callable[[int, int], None] = _ignore) -> None:
    """Fill in keys and clusters."""
    for start in range(0, len(records), BATCH_ROWS):
        part = records[start : start + BATCH_ROWS]
        boards = np.ascontiguousarray(part["boards"]).astype(np.uint64)
        keys = base.project(embed(boards, np.ascontiguousarray(part["clocks"])))
        part["keys"] = keys.astype(np.int8)
        _, cluster = ExactIndex(base.centroids).search(keys.reshape(len(keys), -1), 1)
        part["cluster"] = cluster[:, 0]
        progress(start + len(part), len(records))


def identities(boards: NDArray[Any]) -> list[bytes]:
    """Packed planes [N, 4] as bytes."""
    data = np.ascontiguousarray(boards, "<u8").tobytes()
    return [data[start : start + 32] for start in range(0, len(data), 32)]


def _last_rows(boards: NDArray[Any]) -> NDArray[np.int64]:
    """The last row of each position of packed planes [N, 4], in their order."""
    hashes = board_hashes(boards)
    values, counts = np.unique(hashes, return_counts=True)
    kept = np.ones(len(boards), bool)
    if len(values) < len(boards):  # most positions are met once, so that few need the comparison of all bytes
        again = np.flatnonzero(np.isin(hashes, values[counts > 1]))
        kept[again] = False
        kept[list(dict(zip(identities(boards[again]), again.tolist(), strict=True)).values())] = True
    return np.flatnonzero(kept)


def _runs(columns: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """The first row of each run of equal rows."""
    starts = np.zeros(len(columns[0]), bool)
    starts[:1] = True
    for column in columns:
        starts[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(starts)
