"""Several memories asked as if they were one: the shipped one and the user's own beside it, so that nothing is copied.

An entry's number is its number in its segment and the number of entries in the segments before; so are games numbered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dejavu.retrieval.memory import Memory


class Rows(Protocol):
    """An array that has a row for every entry."""

    def __getitem__(self, entries: Any, /) -> Any:
        """The rows of entries, of any shape."""


class Entries(Protocol):
    """What is known of entries by their numbers: a memory, or several."""

    @property
    def boards(self) -> Rows:
        """uint64 [n, 4], see `memory`."""

    @property
    def clocks(self) -> Rows:
        """uint8 [n]"""

    @property
    def continuations(self) -> Rows:
        """uint16 [n, 8]"""

    @property
    def wdl(self) -> Rows:
        """uint8 [n, 3]"""

    @property
    def game(self) -> Rows:
        """int32 [n]"""

    def __len__(self) -> int: ...

    def game_name(self, game: int) -> str:
        """The line that names a source game."""


class _Column:
    """The arrays of all segments, end to end without a copy."""

    def __init__(self, parts: Sequence[NDArray[Any]], starts: NDArray[np.int64], added: Sequence[int]) -> None:
        """`starts` [S] are the numbers of the first entries; `added` is what the values of each segment are raised by.

        (Games alone are.)
        """
        self._parts = parts
        self._starts = starts
        self._added = added

    def __getitem__(self, entries: int | NDArray[np.int64]) -> NDArray[Any]:
        entries = np.asarray(entries)
        segment = np.searchsorted(self._starts, entries, side="right") - 1
        rows = np.empty((*entries.shape, *self._parts[0].shape[1:]), self._parts[0].dtype)
        for number, (part, added) in enumerate(zip(self._parts, self._added, strict=True)):
            own = segment == number
            rows[own] = part[entries[own] - self._starts[number]] + part.dtype.type(added)
        return rows


class Segments:
    """Memories end to end; see `Entries`."""

    def __init__(self, memories: Sequence[Memory]) -> None:
        self.memories = tuple(memories)
        counts = [0, *(len(memory) for memory in memories)]
        self.starts = np.cumsum(counts)[:-1]
        """[S] number of the first entry of each segment."""
        self._count = sum(counts)
        self._first_games = np.cumsum([0, *(memory.games for memory in memories)])[:-1].tolist()
        none = [0] * len(self.memories)
        self.boards = _Column([memory.boards for memory in memories], self.starts, none)
        self.clocks = _Column([memory.clocks for memory in memories], self.starts, none)
        self.continuations = _Column([memory.continuations for memory in memories], self.starts, none)
        self.wdl = _Column([memory.wdl for memory in memories], self.starts, none)
        self.game = _Column([memory.game for memory in memories], self.starts, self._first_games)

    def __len__(self) -> int:
        return self._count

    def game_name(self, game: int) -> str:
        """The line that names a source game."""
        segment = int(np.searchsorted(self._first_games, game, side="right")) - 1
        return self.memories[segment].game_name(game - self._first_games[segment])
