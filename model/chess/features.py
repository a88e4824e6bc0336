"""Input features of packed positions: what stands on every square, and what attacks it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dejavu.model.chess import kernels
from dejavu.model.chess.attacks import Attacks, Planes, attacks
from dejavu.model.chess.encoding import MAX_HALFMOVE_CLOCK, REPEATED

SQUARE_FEATURES = 12 + 3 + 12 + 1 + 2
"""F: 12 pieces; castling rooks of both sides, en passant; squares attacked by each of the 12 kinds of piece;
pieces giving check; numbers of own and of opposing attackers."""
CLOCK_FEATURES = 2
"""G: half-move clock / 100, and whether the position is a repetition."""
ATTACKER_COUNT_SCALE = 0.25
"""The last two square features are small counts; this brings them near the others, which are 0 or 1."""


class Features(NamedTuple):
    """Network input for B positions."""

    squares: NDArray[np.uint8]
    """[B, F, 64], a1 first."""
    clocks: NDArray[np.float32]
    """[B, G]"""
    attacks: NDArray[np.uint8]
    """[B, 64, 64] 1 where the piece on the first square attacks (or protects) the second."""

    def part(self, start: int, end: int) -> Features:
        """Those of the positions from `start` on, before `end`."""
        return Features(self.squares[start:end], self.clocks[start:end], self.attacks[start:end])


def features(planes: Planes, clocks: NDArray[np.uint8], sets: Attacks | None = None) -> Features:
    """Features of packed positions: planes [B, 4] and clock bytes [B]."""
    sets = sets or attacks(planes)
    squares = np.zeros((len(planes), SQUARE_FEATURES, 64), dtype=np.uint8)
    attackers = np.zeros((len(planes), 64, 64), dtype=np.uint8)
    kernels.fill_features(sets.codes, sets.by_square, squares, attackers)
    clock = np.empty((len(planes), CLOCK_FEATURES), dtype=np.float32)
    clock[:, 0] = (clocks & (REPEATED - 1)) / MAX_HALFMOVE_CLOCK
    clock[:, 1] = clocks >= REPEATED
    return Features(squares, clock, attackers)
