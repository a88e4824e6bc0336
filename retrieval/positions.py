"""What is known of positions, and what several games say of one."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from dejavu.retrieval.moves import NO_MOVE


@dataclass(frozen=True)
class Positions:
    """B positions and what is known of them, as they are stored in a memory."""

    planes: NDArray[np.uint64]
    """[B, 4]"""
    clocks: NDArray[np.uint8]
    """[B]"""
    continuations: NDArray[np.uint16]
    """[B, 8] policy indices of the next plies, NO_MOVE after the last known one."""
    wdl: NDArray[np.float32]
    """[B, 3] win, draw, loss of the side to move, adding up to 1; a third each where nobody has evaluated it."""
    game: NDArray[np.int32]
    """[B]"""

    def __len__(self) -> int:
        return len(self.planes)

    def take(self, rows: NDArray[np.int64]) -> Positions:
        """The positions at `rows`."""
        return Positions(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def merge_equal(positions: Positions) -> tuple[Positions, NDArray[np.int64]]:
    """Every distinct position once, in ascending order of the rows that stay, and the number of games [B'] it is from.

    It stays as the row with the longest continuation, of these the last, among those with the move that is best most
    often (of moves as often best, the one named last); win, draw and loss are the mean of all rows that are evaluated.
    """
    if not len(positions):
        return positions, np.zeros(0, dtype=np.int64)
    rows = np.arange(len(positions))
    moves = positions.continuations[:, 0]
    plies = (positions.continuations != NO_MOVE).sum(axis=1)

    by_game = np.lexsort((positions.game, *positions.planes.T))
    planes, game = positions.planes[by_game], positions.game[by_game]
    starts_position = _starts(planes)
    of_position = np.cumsum(starts_position) - 1  # number of the distinct position, row by row of by_game
    games = np.bincount(of_position, weights=starts_position | _starts(game[:, None])).astype(np.int64)
    number = np.empty_like(of_position)
    number[by_game] = of_position

    by_move = np.lexsort((rows, plies, moves, number))  # the best row of a position's move comes last
    starts_move = _starts(np.stack([number[by_move], moves[by_move]], axis=1))
    first = np.flatnonzero(starts_move)
    last = np.append(first[1:], len(rows)) - 1
    votes = np.where(moves[by_move[first]] == NO_MOVE, 0, last - first + 1)
    named_last = np.maximum.reduceat(by_move, first)
    by_votes = np.lexsort((named_last, votes, number[by_move[first]]))
    ends_position = np.append(np.flatnonzero(_starts(number[by_move[first[by_votes]]][:, None]))[1:], len(by_votes)) - 1
    kept = by_move[last[by_votes[ends_position]]]

    evaluated = np.ptp(positions.wdl[by_game], axis=1, keepdims=True) > 0
    weights = np.where(evaluated, 1, 1e-9)  # those nobody has evaluated count where there is no other
    first_rows = np.flatnonzero(starts_position)
    sums = np.add.reduceat(weights * positions.wdl[by_game], first_rows, axis=0)
    means = (sums / np.add.reduceat(weights, first_rows, axis=0)).astype(np.float32)
    order = np.argsort(kept)
    return replace(positions.take(kept[order]), wdl=means[order]), games[order]


def _starts(sorted_rows: NDArray[np.generic]) -> NDArray[np.bool_]:
    """[B] whether a row of [B, n] differs from the one before."""
    starts = np.ones(len(sorted_rows), dtype=bool)
    starts[1:] = (sorted_rows[1:] != sorted_rows[:-1]).any(axis=1)
    return starts
