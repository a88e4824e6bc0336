"""What an eye sees of positions: which pieces are left, how the pawns stand, how much of a board is another.

Of packed positions, so that White is always the side to move.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dejavu.model.chess import kernels
from dejavu.model.chess.attacks import for_kernels

PIECES = "PNBRQ"
"""Kinds of pieces that come and go, as `piece_counts` has them."""

OTHER_STRUCTURE = 10
"""Pawn moves between structures that only captures lead to, and the most there are between any."""

_FILE_A = np.uint64(0x0101010101010101)
_GATHER = np.uint64(0x0102040810204080)
"""Times the bits of the a-file: these, one beside the other, in the highest byte."""

WORTH = np.array([1, 3, 3, 5, 9])
"""Of a pawn, knight, bishop, rook and queen, in pawns."""

Planes = NDArray[np.uint64]


def count_bits(boards: NDArray[np.uint64]) -> NDArray[np.int64]:
    """[B] bits that are set in each of the numbers [B]."""
    return np.bitwise_count(boards).astype(np.int64)


def piece_boards(planes: Planes) -> list[NDArray[np.uint64]]:
    """Packed positions [B, 4] -> [B] squares of the mover's and the opponent's pawns, knights, ... kings: twelve."""
    bit0, bit1, bit2, opponent = planes.T
    castling = bit0 & bit1 & bit2
    kinds = (
        bit0 & ~bit1 & ~bit2,
        bit1 & ~bit0 & ~bit2,
        bit0 & bit1 & ~bit2,
        (bit2 & ~bit0 & ~bit1) | castling,
        bit0 & bit2 & ~bit1,
        bit1 & bit2 & ~bit0,
    )
    return [side for kind in kinds for side in (kind & ~opponent, kind & opponent)]


def piece_counts(planes: Planes) -> NDArray[np.int64]:
    """Packed positions [B, 4] -> [B, 10]: the mover's pawns, the opponent's pawns, the mover's knights, ... queens."""
    return np.stack([count_bits(board) for board in piece_boards(planes)[:10]], axis=1)


def balance(planes: Planes) -> NDArray[np.int64]:
    """Packed positions [B, 4] -> [B] the worth of the mover's men less that of the opponent's, in pawns."""
    counts = piece_counts(planes)
    ahead: NDArray[np.int64] = (counts[:, ::2] - counts[:, 1::2]) @ WORTH
    return ahead


def signatures(planes: Planes) -> NDArray[np.uint64]:
    """Packed positions [B, 4] -> [B] numbers: equal where all pawns stand alike and the same pieces are left.

    Others are hardly ever equal.
    """
    return kernels.signatures(for_kernels(planes))


def pawn_files(planes: Planes) -> NDArray[np.uint8]:
    """Packed positions [B, 4] -> [B, 16]: the mover's pawns on the files a to h, then the opponent's.

    The bits of a number are the ranks 2 to 7.
    """
    own, other = piece_boards(planes)[:2]
    files = [
        ((board >> np.uint64(file) & _FILE_A) * _GATHER >> np.uint64(57)).astype(np.uint8) & 63
        for board in (own, other)
        for file in range(8)
    ]
    return np.stack(files, axis=1)


def pawn_moves(files: NDArray[np.uint8], asked: NDArray[np.uint8]) -> NDArray[np.int64]:
    """[B] moves of pawns without captures that lie between structures [B, 16] and another [16] (`pawn_files`).

    Whichever of the two was first; OTHER_STRUCTURE where there are more, or a pawn has left its file or the board.
    """
    total = np.zeros(len(files), np.int64)
    for file in range(16):
        total += _MOVES[file // 8, asked[file]][files[:, file]]
    return np.minimum(total, OTHER_STRUCTURE)


def difference(planes: Planes, asked: NDArray[np.uint64]) -> NDArray[np.int64]:
    """[B] how much positions [B, 4] differ from another [4] to the eye; 0 if nothing does.

    Added up: pieces that one has on a square and the other has not (a piece on another square counts twice), pieces
    that one has more of, and pawn moves in between.
    """
    asked = asked[None]
    squares = sum(count_bits(one ^ other) for one, other in zip(piece_boards(planes), piece_boards(asked), strict=True))
    material = np.abs(piece_counts(planes) - piece_counts(asked)).sum(axis=1)
    return np.asarray(squares + material + pawn_moves(pawn_files(planes), pawn_files(asked)[0]))


def _moves_on_a_file(ranks: int, others: int, home: int) -> int:
    """Moves between the pawns on a file in two structures (bits as in `pawn_files`); `home` is where pawns start."""
    if ranks.bit_count() != others.bit_count():
        return OTHER_STRUCTURE
    pairs = zip(*([rank for rank in range(6) if bits >> rank & 1] for bits in (ranks, others)), strict=True)
    # The first move of a pawn may be one of two squares.
    return sum(abs(one - other) - (abs(one - other) >= 2 and home in (one, other)) for one, other in pairs)


_MOVES = np.array(
    [[[_moves_on_a_file(one, other, home) for other in range(64)] for one in range(64)] for home in (0, 5)], np.uint8
)
"""[side, bits of a file, bits of that file in the other structure]"""
