"""Attacks and legal moves of whole batches of packed positions.

The network wants two things of chess that are too slow to ask of a board object, position by position: which
squares every piece attacks (input features) and which of the 4168 policy entries are legal (the policy mask).
Every function takes planes [B, 4] as `encoding.pack` makes them; the mover is always White.

B positions, M moves of all of them; a bitboard is a uint64 whose bit s is square s (a1 = 0, h8 = 63).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dejavu.model.chess import kernels
from dejavu.retrieval.moves import POLICY_SIZE

Bitboards = NDArray[np.uint64]
Planes = NDArray[np.uint64]


class Attacks(NamedTuple):
    """What stands where and what it attacks, for B positions."""

    codes: NDArray[np.uint8]
    """[B, 64] piece codes."""
    by_square: Bitboards
    """[B, 64] squares attacked (or protected) by the piece on each square; none where there is no piece."""

    def of(self, chosen: NDArray[np.bool_]) -> Attacks:
        """Those of the `chosen` positions [B]."""
        return Attacks(self.codes[chosen], self.by_square[chosen])


class LegalMoves(NamedTuple):
    """The legal moves of B positions, end to end."""

    offsets: NDArray[np.int64]
    """[B + 1]: the moves of position b are entries offsets[b] to offsets[b + 1]; none if the game is over."""
    moves: NDArray[np.uint16]
    """[M] policy indices, ascending in every position."""

    @property
    def counts(self) -> NDArray[np.int64]:
        """[B] moves of each position."""
        return np.diff(self.offsets)

    def positions(self) -> NDArray[np.intp]:
        """[M] which position each move is of."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.counts)

    def part(self, start: int, end: int) -> LegalMoves:
        """Those of the positions from `start` on, before `end`."""
        first, last = self.offsets[[start, end]]
        return LegalMoves(self.offsets[start : end + 1] - first, self.moves[first:last])

    def of(self, chosen: NDArray[np.bool_]) -> LegalMoves:
        """Those of the `chosen` positions [B]."""
        counts = self.counts
        offsets = np.concatenate([[0], np.cumsum(counts[chosen])])
        return LegalMoves(offsets, self.moves[np.repeat(chosen, counts)])

    def mask(self) -> NDArray[np.bool_]:
        """[B, 4168] which policy entries are legal moves."""
        mask = np.zeros((len(self.offsets) - 1, POLICY_SIZE), dtype=bool)
        mask[self.positions(), self.moves] = True
        return mask


def piece_codes(planes: Planes) -> NDArray[np.uint8]:
    """Planes [B, 4] -> the 4-bit code of every square, [B, 64]."""
    bits = to_squares(planes)
    codes: NDArray[np.uint8] = np.bitwise_or.reduce(bits << np.arange(4, dtype=np.uint8)[:, None], axis=1)
    return codes


def to_squares(bitboards: Bitboards) -> NDArray[np.uint8]:
    """Bitboards [...] -> their bits as 0 and 1, [..., 64], square a1 first."""
    data = np.ascontiguousarray(bitboards).astype("<u8", copy=False)
    return np.unpackbits(data.view(np.uint8).reshape(*bitboards.shape, 8), axis=-1, bitorder="little")


def attacks(planes: Planes) -> Attacks:
    """Attack sets of every piece of the positions `planes` [B, 4]."""
    codes, by_square = np.empty((len(planes), 64), np.uint8), np.empty((len(planes), 64), np.uint64)
    kernels.decode(for_kernels(planes), codes, by_square)
    return Attacks(codes, by_square)


def legal_moves(planes: Planes, sets: Attacks | None = None) -> LegalMoves:
    """The legal moves of the positions `planes` [B, 4], whose attacks may be known.

    Exact for positions that arose by legal play, Chess960 castling included. En passant relies on the packed
    square being set only where such a capture is legal: then every capturing pawn that is not pinned may.
    """
    return LegalMoves(*kernels.legal_moves(for_kernels(planes), *(sets or attacks(planes))))


def legal_mask(planes: Planes, sets: Attacks | None = None) -> NDArray[np.bool_]:
    """[B, 4168] which policy entries are legal moves; see `legal_moves`."""
    return legal_moves(planes, sets).mask()


def for_kernels(planes: Planes) -> Planes:
    """The same, in memory of its own that kernels may read: a copy of a part, or of what a file is mapped to."""
    return np.require(planes, np.uint64, ["C", "W"])
