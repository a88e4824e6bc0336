"""Attacks and legal moves of whole batches of packed positions, in numpy.

The network wants two things of chess that are too slow to ask of a board object, position by position: which
squares every piece attacks (input features) and which of the 4168 policy entries are legal (the policy mask).
Every function takes planes [B, 4] as `encoding.pack` makes them; the mover is always White.

B positions, S = 64 squares; a bitboard is a uint64 whose bit s is square s (a1 = 0, h8 = 63).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import chess
import numpy as np
from numpy.typing import NDArray

from dejavu.model.chess.encoding import UNDERPROMOTION_OFFSET
from dejavu.retrieval.moves import POLICY_SIZE

Bitboards = NDArray[np.uint64]
Planes = NDArray[np.uint64]

OWN_ROOK_CASTLING = 7
_ONE = np.uint64(1)
_NONE = np.uint64(0)
_ALL = ~_NONE
_BIT: Bitboards = _ONE << np.arange(64, dtype=np.uint64)


def _ray(square: int, file_step: int, rank_step: int) -> int:
    """Bitboard of the squares from `square` (exclusive) to the edge; none if there is no step."""
    ray, file, rank = 0, square % 8 + file_step, square // 8 + rank_step
    while (file_step or rank_step) and 0 <= file < 8 and 0 <= rank < 8:
        ray |= 1 << (rank * 8 + file)
        file, rank = file + file_step, rank + rank_step
    return ray


def _pairs(function: Callable[[int, int], int]) -> Bitboards:
    """[64, 64] table of a bitboard for every pair of squares."""
    return np.array([[function(a, b) for b in range(64)] for a in range(64)], dtype=np.uint64)


def _step(a: int, b: int) -> tuple[int, int]:
    """The king's step that leads from a to b along a line; (0, 0) if they share none."""
    files, ranks = b % 8 - a % 8, b // 8 - a // 8
    if files and ranks and abs(files) != abs(ranks):
        return 0, 0
    return (files > 0) - (files < 0), (ranks > 0) - (ranks < 0)


# Rays to higher squares (the first blocker is the lowest bit) and to lower ones; straight ones first. [4, 64]
_UP_RAYS = np.array(
    [[_ray(s, *step) for s in range(64)] for step in ((1, 0), (0, 1), (1, 1), (-1, 1))], dtype=np.uint64
)
_DOWN_RAYS = np.array(
    [[_ray(s, *step) for s in range(64)] for step in ((-1, 0), (0, -1), (-1, -1), (1, -1))], dtype=np.uint64
)

# Attacks of the pieces that do not slide, by piece code; sliders and empty squares have none here. [16, 64]
_LEAPERS = np.zeros((16, 64), dtype=np.uint64)
_LEAPERS[1] = chess.BB_PAWN_ATTACKS[chess.WHITE]
_LEAPERS[9] = chess.BB_PAWN_ATTACKS[chess.BLACK]
_LEAPERS[[2, 10]] = chess.BB_KNIGHT_ATTACKS
_LEAPERS[[6, 14]] = chess.BB_KING_ATTACKS

# Where the mover's such pieces attack a square from: a pawn looks the other way. [16, 64]
_REVERSED_LEAPERS = _LEAPERS.copy()
_REVERSED_LEAPERS[1] = _LEAPERS[9]

_SLIDES_STRAIGHT = np.isin(np.arange(16), (4, 5, 7, 12, 13, 15))
_SLIDES_DIAGONALLY = np.isin(np.arange(16), (3, 5, 11, 13))

_BETWEEN = _pairs(chess.between)
_BEYOND = _pairs(lambda a, b: _ray(b, *_step(a, b)))  # squares past b, seen from a along their line
_STRAIGHT = _pairs(lambda a, b: int(0 in _step(a, b) and _step(a, b) != (0, 0))).astype(bool)
_DIAGONAL = _pairs(lambda a, b: int(0 not in _step(a, b))).astype(bool)


def piece_codes(planes: Planes) -> NDArray[np.uint8]:
    """Planes [B, 4] -> the 4-bit code of every square, [B, 64]."""
    bits = to_squares(planes)
    codes: NDArray[np.uint8] = np.bitwise_or.reduce(bits << np.arange(4, dtype=np.uint8)[:, None], axis=1)
    return codes


def to_squares(bitboards: Bitboards) -> NDArray[np.uint8]:
    """Bitboards [...] -> their bits as 0 and 1, [..., 64], square a1 first."""
    data = np.ascontiguousarray(bitboards).astype("<u8", copy=False)
    return np.unpackbits(data.view(np.uint8).reshape(*bitboards.shape, 8), axis=-1, bitorder="little")


@dataclass(frozen=True)
class Attacks:
    """What stands where and what it attacks, for B positions."""

    codes: NDArray[np.uint8]
    """[B, 64] piece codes."""
    by_square: Bitboards
    """[B, 64] squares attacked (or protected) by the piece on each square; none where there is no piece."""
    occupied: Bitboards
    """[B]"""
    own: Bitboards
    """[B] the mover's pieces."""
    opponent: Bitboards
    """[B]"""
    is_own: NDArray[np.bool_]
    """[B, 64] squares with a piece of the mover."""
    is_opponent: NDArray[np.bool_]
    """[B, 64]"""
    slides: Bitboards
    """[2, B, 64] squares a rook (first) or bishop (second) on each square would attack."""

    def take(self, rows: NDArray[np.intp]) -> Attacks:
        """Those of some of the positions."""
        return Attacks(
            self.codes[rows],
            self.by_square[rows],
            self.occupied[rows],
            self.own[rows],
            self.opponent[rows],
            self.is_own[rows],
            self.is_opponent[rows],
            self.slides[:, rows],
        )

    def attacked_from(
        self, code: NDArray[np.integer[Any]], square: NDArray[np.intp], row: NDArray[np.intp]
    ) -> Bitboards:
        """Squares from which the mover's piece `code` [M] attacks `square` [M] in position `row` [M]."""
        squares: Bitboards = _REVERSED_LEAPERS[code, square]
        squares |= np.where(_SLIDES_STRAIGHT[code], self.slides[0, row, square], _NONE)
        squares |= np.where(_SLIDES_DIAGONALLY[code], self.slides[1, row, square], _NONE)
        return squares


def attacks(planes: Planes) -> Attacks:
    """Attack sets of every piece of the positions `planes` [B, 4]."""
    codes = piece_codes(planes)
    occupied = planes[:, 0] | planes[:, 1] | planes[:, 2]
    blockers = occupied[:, None]
    # Up: x ^ (x - 1) is the first blocker and all below it. Down: smear the highest bit over all below it.
    slides = np.zeros((2, *codes.shape), dtype=np.uint64)
    for direction in range(4):
        up = blockers & _UP_RAYS[direction]
        up ^= up - _ONE
        up &= _UP_RAYS[direction]
        down = blockers & _DOWN_RAYS[direction]
        for shift in (1, 2, 4, 8, 16, 32):
            down |= down >> np.uint64(shift)
        down >>= _ONE
        np.bitwise_not(down, out=down)
        down &= _DOWN_RAYS[direction]
        slides[direction // 2] |= up
        slides[direction // 2] |= down
    by_square = _LEAPERS[codes, np.arange(64)]
    by_square |= np.where(_SLIDES_STRAIGHT[codes], slides[0], _NONE)
    by_square |= np.where(_SLIDES_DIAGONALLY[codes], slides[1], _NONE)
    own = occupied & ~planes[:, 3]
    opponent = occupied & planes[:, 3]
    return Attacks(
        codes=codes,
        by_square=by_square,
        occupied=occupied,
        own=own,
        opponent=opponent,
        is_own=(codes > 0) & (codes < 8),
        is_opponent=codes > 8,
        slides=slides,
    )


def _merge(bitboards: Bitboards) -> Bitboards:
    """Union over the squares: [B, 64] -> [B]."""
    union: Bitboards = np.bitwise_or.reduce(bitboards, axis=-1)
    return union


def king_squares(codes: NDArray[np.uint8]) -> NDArray[np.intp]:
    """[B] the mover's king; a1 where there is none."""
    squares: NDArray[np.intp] = np.argmax(codes == 6, axis=1)
    return squares


def discoverers(sets: Attacks, king: NDArray[np.intp]) -> Bitboards:
    """[B] the mover's pieces that alone stand between a slider of theirs and the opposing `king` [B]."""
    aligned = (_SLIDES_STRAIGHT[sets.codes] & _STRAIGHT[king]) | (_SLIDES_DIAGONALLY[sets.codes] & _DIAGONAL[king])
    shield = _BETWEEN[king] & sets.occupied[:, None]
    alone = sets.is_own & aligned & (shield & (shield - _ONE) == 0)
    return _merge(np.where(alone, shield & sets.own[:, None], _NONE))


def checkers(sets: Attacks, king: NDArray[np.intp]) -> Bitboards:
    """[B] the opponent's pieces that give check to the mover's king."""
    giving = sets.is_opponent & (sets.by_square & _BIT[king][:, None] != 0)
    return _merge(np.where(giving, _BIT, _NONE))


def legal_mask(planes: Planes, sets: Attacks | None = None) -> NDArray[np.bool_]:
    """[B, 4168] which policy entries are legal moves; all False where the game is over.

    Exact for positions that arose by legal play, Chess960 castling included. En passant relies on the packed
    square being set only where such a capture is legal: then every capturing pawn that is not pinned may.
    """
    sets = sets or attacks(planes)
    count = len(planes)
    rows = np.arange(count)
    king = king_squares(sets.codes)
    check = checkers(sets, king)
    sliders = (_SLIDES_STRAIGHT | _SLIDES_DIAGONALLY)[sets.codes] & sets.is_opponent

    # Squares the king may not enter: attacked ones, and those behind it on the line of a sliding checker.
    danger = _merge(np.where(sets.is_opponent, sets.by_square, _NONE))
    checking_slider = sliders & (check[:, None] & _BIT != 0)
    danger |= _merge(np.where(checking_slider, _BEYOND.T[king], _NONE))

    # Where the other pieces may go: anywhere, or onto the line of the one checker, or nowhere.
    checker = np.argmax(check[:, None] & _BIT != 0, axis=1)
    evasion = np.where(check == 0, _ALL, _BETWEEN[king, checker] | check)
    evasion = np.where(check & (check - _ONE) != 0, _NONE, evasion)

    # A piece alone between its king and a slider may move on that line only.
    aligned = (_SLIDES_STRAIGHT[sets.codes] & _STRAIGHT[king]) | (_SLIDES_DIAGONALLY[sets.codes] & _DIAGONAL[king])
    shield = _BETWEEN[king] & sets.occupied[:, None]
    pinning = sets.is_opponent & aligned & (shield != 0) & (shield & (shield - _ONE) == 0)
    pinning &= shield & sets.own[:, None] != 0
    free = np.full((count, 64), _ALL)
    pin_row, pinner = np.nonzero(pinning)
    pinned = np.argmax(shield[pin_row, pinner][:, None] & _BIT != 0, axis=1)
    free[pin_row, pinned] = _BETWEEN[king[pin_row], pinner] | _BIT[pinner]

    # Pawns capture on their attacks and advance where nothing stands.
    targets = np.where(sets.is_own, sets.by_square & ~sets.own[:, None], _NONE)
    pawns = sets.codes == 1
    advance = np.where(pawns, _BIT << np.uint64(8), _NONE) & ~sets.occupied[:, None]
    third_rank = np.uint64(chess.BB_RANK_3)
    double = (advance & third_rank) << np.uint64(8) & ~sets.occupied[:, None]
    targets = np.where(pawns, (targets & sets.opponent[:, None]) | advance | double, targets)
    targets &= evasion[:, None]
    en_passant = planes[:, 3] & ~sets.occupied
    targets |= np.where(pawns, sets.by_square & en_passant[:, None], _NONE)
    targets &= free

    targets[rows, king] = _LEAPERS[6, king] & ~sets.own & ~danger
    _add_castling(targets, sets, king, check, danger, free)

    mask = np.zeros((count, POLICY_SIZE), dtype=bool)
    mask[:, :UNDERPROMOTION_OFFSET] = to_squares(targets).reshape(count, UNDERPROMOTION_OFFSET)
    promoting = np.where(pawns[:, 48:56], targets[:, 48:56] >> np.uint64(56), _NONE)  # [B, 8 files], 8 bits each
    shifts = np.arange(8)[:, None] + np.arange(3)  # to-file + 1, for every from-file and direction
    landing = (promoting[:, :, None] << _ONE) >> shifts.astype(np.uint64) & _ONE  # [B, 8, 3]
    mask[:, UNDERPROMOTION_OFFSET:] = np.repeat(landing.reshape(count, 24) != 0, 3, axis=1)
    return mask


def _add_castling(
    targets: Bitboards,
    sets: Attacks,
    king: NDArray[np.intp],
    check: Bitboards,
    danger: Bitboards,
    free: Bitboards,
) -> None:
    """Add king-takes-own-rook to the king's `targets` [B, 64] wherever castling is legal."""
    row, rook = np.nonzero(sets.codes == OWN_ROOK_CASTLING)
    if not len(row):
        return
    home = king[row]
    kingside = rook > home
    king_to = np.where(kingside, chess.G1, chess.C1)
    rook_to = np.where(kingside, chess.F1, chess.D1)
    king_path = _BETWEEN[home, king_to] | _BIT[king_to]
    travelled = king_path | _BETWEEN[rook, rook_to] | _BIT[rook_to]
    in_the_way = travelled & sets.occupied[row] & ~_BIT[home] & ~_BIT[rook]
    attacked = king_path & danger[row] & ~_BIT[home]
    unpinned = free[row, rook] == _ALL
    legal = (check[row] == 0) & (in_the_way == 0) & (attacked == 0) & unpinned & (home < 8) & (rook < 8)
    np.bitwise_or.at(targets, (row[legal], home[legal]), _BIT[rook[legal]])  # both sides may be legal at once
