"""Keys of learned positions that are kept beside their file, which was written for another network or memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dejavu.retrieval.learned_records import Records, Space


class KeysBeside:
    """Keys and clusters of one space, by position and clock."""

    def __init__(self) -> None:
        self._space: Space | None = None
        self._known: dict[bytes, bytes] = {}

    def add(self, records: Records, space: Space) -> None:
        """Keep the keys of these records, which are of `space`. Those of another space are dropped."""
        self._turn_to(space)
        keys = np.empty(len(records), _layout(space))
        keys["keys"], keys["cluster"] = records["keys"], records["cluster"]
        self._known.update(zip(_names(records), _rows(keys), strict=True))

    def add_all(self, other: KeysBeside) -> None:
        """Keep what another one keeps."""
        if other._space is not None:
            self._turn_to(other._space)
            self._known.update(other._known)

    def fill(self, records: Records, space: Space) -> NDArray[np.bool_]:
        """Fill in the keys of records as far as they are kept; [N] which are."""
        names = _names(records)
        filled = np.array([space == self._space and name in self._known for name in names], bool)
        rows = np.flatnonzero(filled)
        if not len(rows):
            return filled
        keys = np.frombuffer(b"".join(self._known[names[row]] for row in rows.tolist()), _layout(space))
        records["keys"][rows], records["cluster"][rows] = keys["keys"], keys["cluster"]
        return filled

    def _turn_to(self, space: Space) -> None:
        if space != self._space:
            self._space, self._known = space, {}


def _layout(space: Space) -> np.dtype[Any]:
    return np.dtype([("keys", "i1", (space.chunks, space.size)), ("cluster", "<u2")])


def _names(records: Records) -> list[bytes]:
    """The position and the clock of each record: what its key depends on."""
    names = np.empty(len(records), [("boards", "<u8", (4,)), ("clocks", "u1")])
    names["boards"], names["clocks"] = records["boards"], records["clocks"]
    return _rows(names)


def _rows(array: NDArray[Any]) -> list[bytes]:
    """The bytes of each row."""
    data, size = array.tobytes(), array.dtype.itemsize
    return [data[start : start + size] for start in range(0, len(data), size)]
