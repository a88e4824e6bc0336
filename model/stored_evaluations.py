"""What the network says of a memory's own positions, computed beforehand and kept in a file beside the memory.

A remembered position is its own nearest neighbour, so that its evaluation depends on nothing but the network and the
entry. A search in a known opening meets hardly any other positions, and none of them is computed again.

The file is numpy's npz. Each evaluation lies under the hash of its entry: those of entries that a memory has lost or
that have changed are not found, and the others stay good when games are added to it.

n evaluations, p moves in all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dejavu.model.chess.encoding import REPEATED
from dejavu.model.evaluations import Evaluations
from dejavu.retrieval.atomic import atomic_write
from dejavu.retrieval.hashes import board_hashes, entry_hashes
from dejavu.retrieval.memory import Memory

FORMAT = "dejavu-evaluations-1"
SUFFIX = ".evaluations.npz"
"""Takes the place of the memory's own suffix."""

CLOCK_REACH = 8
"""Plies that the half-move clock may differ from the entry's. Their evaluations then differ by 0.014 in Q on the
average, at 16 plies by 0.027 (dejavu-12)."""

_FINE, _COARSE = 16, 4
"""Steps of -log P in one nat: a P is right to 3 %, below exp(-8) to 13 %, and kept down to exp(-39)."""
_COARSE_FROM = 8
_LEAST = 255
_STEPS = np.arange(_LEAST + 1, dtype=np.float32)
_LOGITS = -np.maximum(_STEPS / _FINE, _COARSE_FROM + (_STEPS - _FINE * _COARSE_FROM) / _COARSE)
"""What each number of steps stands for."""
_CERTAIN = 65535


class StoredEvaluationsError(ValueError):
    """A file that cannot be used; the message is one sentence that names it and what is wrong."""


class Columns(NamedTuple):
    """What the file holds."""

    entries: NDArray[np.uint64]
    """[n] hashes of the entries, ascending."""
    moves: NDArray[np.uint8]
    """[n] how many legal moves each has."""
    policy: NDArray[np.uint8]
    """[p] steps of -log P of the legal moves, position by position, by ascending policy index."""
    chances: NDArray[np.uint16]
    """[n, 2] of a win and of a loss for the side to move, in 65,535ths."""


def file_beside(memory: Path) -> Path:
    """Where the evaluations of a memory file are."""
    return memory.with_suffix(SUFFIX)


def read_columns(path: Path, checksum: str) -> Columns:
    """The evaluations of a file, made by the weights with this checksum. Raises StoredEvaluationsError and OSError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            about = {name: str(file[name]) for name in ("format", "weights")}
            columns = Columns(*(file[name] for name in Columns._fields))
    except OSError:
        raise
    except Exception as error:  # whatever a damaged file makes numpy, zipfile or zlib raise
        raise StoredEvaluationsError(f"{path} is damaged, or not a file of evaluations: {error}") from None
    if about["format"] != FORMAT:
        raise StoredEvaluationsError(f"{path} has format {about['format']!r}, not {FORMAT!r}")
    if about["weights"] != checksum:
        raise StoredEvaluationsError(f"{path} is of other weights")
    count = len(columns.entries)
    kinds = [(array.dtype, array.shape) for array in columns]
    expected = [
        (np.dtype(np.uint64), (count,)),
        (np.dtype(np.uint8), (count,)),
        (np.dtype(np.uint8), (int(columns.moves.sum(dtype=np.int64)),)),
        (np.dtype(np.uint16), (count, 2)),
    ]
    if kinds != expected or np.any(columns.entries[1:] < columns.entries[:-1]):
        raise StoredEvaluationsError(f"{path} is damaged: its arrays do not fit together")
    return columns


def write_columns(path: Path, checksum: str, columns: Columns) -> None:
    """Write the evaluations that the weights with this checksum made. Raises WriteError."""
    with atomic_write(path) as file:
        np.savez_compressed(file, format=FORMAT, weights=checksum, **columns._asdict())


class StoredEvaluations:
    """The evaluations of those entries of a memory that a file has any of."""

    def __init__(self, memory: Memory, columns: Columns) -> None:
        self.memory = memory
        self._columns = columns
        self._starts = _starts(columns)
        rows = _rows_of(entry_hashes(memory), columns.entries)  # [memory's n]
        entries = np.flatnonzero((rows >= 0) & (memory.clocks < REPEATED))
        hashes = board_hashes(memory.boards[entries])
        order = np.argsort(hashes)
        self._hashes = hashes[order]
        """[N] of the boards whose evaluations are there, ascending."""
        self._entries = entries[order]
        self._rows = rows[self._entries]
        self._hidden = np.zeros(len(order), dtype=bool)

    def __len__(self) -> int:
        return len(self._hashes)

    def hide(self, memories: Sequence[Memory]) -> None:
        """Find no position that one of these memories knows as well, from now on: it may say something else of it."""
        self._hidden[:] = False
        for memory in memories:
            index = _rows_of(board_hashes(memory.boards), self._hashes)
            self._hidden[index[index >= 0]] = True

    def find(self, planes: NDArray[np.uint64], clocks: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Packed positions [B, 4] and clock bytes [B] -> rows [B] of the file, -1 where it has none."""
        rows = np.full(len(planes), -1, np.int64)
        index = _rows_of(board_hashes(planes), self._hashes)
        asked = np.flatnonzero(index >= 0)
        if len(asked) == 0:
            return rows
        found = index[asked]
        entries = self._entries[found]
        clock = self.memory.clocks[entries].astype(np.int64)
        usable = ~self._hidden[found] & (self.memory.boards[entries] == planes[asked]).all(axis=1)
        usable &= (clocks[asked] < REPEATED) & (np.abs(clocks[asked] - clock) <= CLOCK_REACH)
        rows[asked[usable]] = self._rows[found[usable]]
        return rows

    def moves(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """[B] how many legal moves the positions of these rows have."""
        return self._columns.moves[rows].astype(np.int64)

    def logits(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """[M] of the legal moves of these rows, end to end."""
        return np.asarray(_LOGITS[self._columns.policy[_places(self._starts[rows], self.moves(rows))]])

    def wdl(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """[B, 3] chances of win, draw, loss."""
        win, loss = (self._columns.chances[rows].astype(np.float32) / np.float32(_CERTAIN)).T
        return np.stack([win, np.maximum(1 - win - loss, 0), loss], axis=1)


def evaluate_entries(
    memory: Memory,
    evaluate: Callable[[NDArray[np.uint64], NDArray[np.uint8]], Evaluations],
    known: Columns | None,
    at_once: int,
) -> Iterator[Columns]:
    """The evaluations of all entries of a memory in parts: what is `known` of them, then the rest by `evaluate`."""
    hashes = entry_hashes(memory)
    columns = known or Columns(*(np.empty((0, *shape), kind) for shape, kind in _EMPTY))
    columns = _take(columns, np.flatnonzero(np.isin(columns.entries, hashes)))
    yield columns
    distinct, first = np.unique(hashes, return_index=True)
    missing = np.sort(first[~np.isin(distinct, columns.entries)])
    for start in range(0, len(missing), at_once):
        rows = missing[start : start + at_once]
        yield _columns(hashes[rows], evaluate(memory.boards[rows], memory.clocks[rows]))


def join(parts: Sequence[Columns]) -> Columns:
    """All of them, by ascending hash."""
    together = Columns(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    return _take(together, np.argsort(together.entries))


_EMPTY = [((), np.uint64), ((), np.uint8), ((), np.uint8), ((2,), np.uint16)]


def _columns(entries: NDArray[np.uint64], evaluations: Evaluations) -> Columns:
    """The evaluations of entries, in the order in which they were evaluated."""
    counts = np.diff(evaluations.offsets)
    logits, offsets = evaluations.logits.astype(np.float64), evaluations.offsets[:-1][counts > 0]
    with_moves = counts[counts > 0]
    logits = logits - np.repeat(np.maximum.reduceat(logits, offsets), with_moves)
    logits -= np.repeat(np.log(np.add.reduceat(np.exp(logits), offsets)), with_moves)
    fine, coarse = -_FINE * logits, _FINE * _COARSE_FROM + _COARSE * (-logits - _COARSE_FROM)
    policy = np.clip(np.rint(np.minimum(fine, coarse)), 0, _LEAST).astype(np.uint8)
    chances = np.rint(evaluations.wdl[:, [0, 2]] * _CERTAIN).astype(np.uint16)
    return Columns(entries, counts.astype(np.uint8), policy, chances)


def _take(columns: Columns, rows: NDArray[np.intp]) -> Columns:
    """The evaluations of some rows, in this order."""
    places = _places(_starts(columns)[rows], columns.moves[rows].astype(np.int64))
    return Columns(columns.entries[rows], columns.moves[rows], columns.policy[places], columns.chances[rows])


def _starts(columns: Columns) -> NDArray[np.int64]:
    """[n] where the moves of each evaluation begin."""
    return np.cumsum(columns.moves, dtype=np.int64) - columns.moves


def _places(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """[M] the places of runs of so many moves, end to end."""
    return np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())


def _rows_of(hashes: NDArray[np.uint64], ascending: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where each of `hashes` [N] stands among the `ascending` ones; -1 where it does not."""
    if len(ascending) == 0:
        return np.full(len(hashes), -1, np.int64)
    index = np.minimum(np.searchsorted(ascending, hashes), len(ascending) - 1)
    return np.where(ascending[index] == hashes, index, -1)
