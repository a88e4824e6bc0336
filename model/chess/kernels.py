"""Chess of packed positions, position by position, compiled to machine code by numba.

What these functions do is told where they are called: `attacks`, `features` and `mates`. All of it is in one file,
since numba notices that a compiled function it has kept is out of date by the file of that function alone.

Boards are four numbers of 64 bits as `encoding.pack` makes them, so the mover always plays up the board; a square is a
number, a bitboard a uint64 whose bit s is square s (a1 = 0, h8 = 63). Mixed with other numbers numba would make a
uint64 a float, so every constant that meets one is a uint64.
"""

from __future__ import annotations

from typing import Any

import chess
import numpy as np
from numpy.typing import NDArray

from dejavu.model.chess.encoding import UNDERPROMOTION_OFFSET
from dejavu.model.jit import compiled, inlined
from dejavu.retrieval.moves import NO_MOVE

Bitboard = np.uint64
Bitboards = NDArray[np.uint64]
Codes = NDArray[np.uint8]
"""[64] or [B, 64] piece codes."""
Moves = NDArray[np.uint16]
"""Policy indices."""

PIECES = (1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14)
"""Codes of the kinds of piece: a rook with castling right (7, 15) counts as a rook, too."""

_PAWN, _KNIGHT, _BISHOP, _ROOK, _QUEEN, _KING, _CASTLING_ROOK, _EN_PASSANT = range(1, 9)
_OPPOSING_PAWN, _OPPOSING_KING, _OPPOSING_CASTLING_ROOK = 9, 14, 15

# Where the square features that are no pieces begin: see features.SQUARE_FEATURES.
_CASTLES, _OPPOSING_CASTLES, _PASSED, _ATTACKED, _CHECKS = 12, 13, 14, 15, 27
_OWN_ATTACKERS, _OPPOSING_ATTACKERS = 28, 29

_ONE, _EIGHT = np.uint64(1), np.uint64(8)
_NONE = np.uint64(0)
_ALL = ~_NONE
_BIT: Bitboards = _ONE << np.arange(64, dtype=np.uint64)
_OWN_PAWNS, _OTHER_PAWNS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_PIECES_LEFT = np.uint64(0x165667B19E3779F9)  # all three are odd, with their bits well mixed
_THIRD_RANK, _LAST_RANK = np.uint64(chess.BB_RANK_3), np.uint64(chess.BB_RANK_8)

_DE_BRUIJN, _TOP = np.uint64(0x03F79D71B4CB0A89), np.uint64(58)
_SQUARE_OF = np.zeros(64, np.intp)
_SQUARE_OF[(_BIT * _DE_BRUIJN) >> _TOP] = np.arange(64)


def _ray(square: int, file_step: int, rank_step: int) -> int:
    """Bitboard of the squares from `square` (exclusive) to the edge; none if there is no step."""
    ray, file, rank = 0, square % 8 + file_step, square // 8 + rank_step
    while (file_step or rank_step) and 0 <= file < 8 and 0 <= rank < 8:
        ray |= 1 << (rank * 8 + file)
        file, rank = file + file_step, rank + rank_step
    return ray


def _step(a: int, b: int) -> tuple[int, int]:
    """The king's step that leads from a to b along a line; (0, 0) if they share none."""
    files, ranks = b % 8 - a % 8, b // 8 - a // 8
    if files and ranks and abs(files) != abs(ranks):
        return 0, 0
    return (files > 0) - (files < 0), (ranks > 0) - (ranks < 0)


_SQUARES = range(64)
_STRAIGHT, _DIAGONAL = 1, 2

# Rays to higher squares (the first blocker is the lowest bit) and to lower ones; straight ones first. [4, 64]
_UP_RAYS = np.array([[_ray(s, *step) for s in _SQUARES] for step in ((1, 0), (0, 1), (1, 1), (-1, 1))], dtype=np.uint64)
_DOWN_RAYS = np.array(
    [[_ray(s, *step) for s in _SQUARES] for step in ((-1, 0), (0, -1), (-1, -1), (1, -1))], dtype=np.uint64
)
_BETWEEN = np.array([[chess.between(a, b) for b in _SQUARES] for a in _SQUARES], dtype=np.uint64)
# Squares past b, seen from a along their line. [64, 64]
_BEYOND = np.array([[_ray(b, *_step(a, b)) for b in _SQUARES] for a in _SQUARES], dtype=np.uint64)
# What slides from a to b: what moves straight, diagonally, or nothing. [64, 64]
_LINE = np.array(
    [
        [0 if _step(a, b) == (0, 0) else _STRAIGHT if 0 in _step(a, b) else _DIAGONAL for b in _SQUARES]
        for a in _SQUARES
    ],
    dtype=np.uint8,
)

# Attacks of the pieces that do not slide, by piece code; sliders and empty squares have none here. [16, 64]
_LEAPERS = np.zeros((16, 64), dtype=np.uint64)
_LEAPERS[_PAWN] = chess.BB_PAWN_ATTACKS[chess.WHITE]
_LEAPERS[_OPPOSING_PAWN] = chess.BB_PAWN_ATTACKS[chess.BLACK]
_LEAPERS[[2, 10]] = chess.BB_KNIGHT_ATTACKS
_LEAPERS[[6, 14]] = chess.BB_KING_ATTACKS

# How a piece slides, by its code. [16]
_SLIDES = np.zeros(16, dtype=np.uint8)
_SLIDES[[4, 7, 12, 15]] = _STRAIGHT
_SLIDES[[3, 11]] = _DIAGONAL
_SLIDES[[5, 13]] = _STRAIGHT | _DIAGONAL

# Slot among PIECES, by code. [16]
_SLOT = np.zeros(16, dtype=np.intp)
_SLOT[list(PIECES)] = np.arange(len(PIECES))
_SLOT[[7, 15]] = _SLOT[[4, 12]]


@inlined
def _signed(number: Any) -> int:
    """A number that may meet others."""
    return int(np.int64(number))


@inlined
def _square_of(bit: Bitboard) -> int:
    """The square of a bitboard of one."""
    return _signed(_SQUARE_OF[(bit * _DE_BRUIJN) >> _TOP])


@inlined
def _lowest(bitboard: Bitboard) -> Bitboard:
    """Its first square, alone."""
    return bitboard & (~bitboard + _ONE)


@inlined
def _is_one(bitboard: Bitboard) -> bool:
    """Whether it holds one square."""
    return bool(bitboard != _NONE and bitboard & (bitboard - _ONE) == _NONE)


@inlined
def _slide(square: int, occupied: Bitboard, first: int) -> Bitboard:
    """Squares that a rook (first = 0) or a bishop (first = 2) attacks."""
    reached = _NONE
    for direction in range(first, first + 2):
        # Up: x ^ (x - 1) is the first blocker and all below it. Down: smear the highest bit over all below it.
        up = occupied & _UP_RAYS[direction, square]
        reached |= (up ^ (up - _ONE)) & _UP_RAYS[direction, square]
        down = occupied & _DOWN_RAYS[direction, square]
        for shift in (1, 2, 4, 8, 16, 32):
            down |= down >> np.uint64(shift)
        reached |= ~(down >> _ONE) & _DOWN_RAYS[direction, square]
    return reached


@inlined
def _attacks_of(code: int, square: int, occupied: Bitboard) -> Bitboard:
    """Squares that a piece attacks or protects."""
    squares: Bitboard = _LEAPERS[code, square]
    if _SLIDES[code] & _STRAIGHT:
        squares |= _slide(square, occupied, 0)
    if _SLIDES[code] & _DIAGONAL:
        squares |= _slide(square, occupied, 2)
    return squares


@inlined
def _king(codes: Codes, code: int) -> int:
    """Where it stands; a1 if there is none."""
    for square in range(64):
        if codes[square] == code:
            return square
    return 0


@inlined
def _code_at(bit0: Bitboard, bit1: Bitboard, bit2: Bitboard, bit3: Bitboard, square: int) -> int:
    """The piece code of a square."""
    at = np.uint64(square)
    low = bit0 >> at & _ONE | (bit1 >> at & _ONE) << np.uint64(1)
    return _signed(low | (bit2 >> at & _ONE) << np.uint64(2) | (bit3 >> at & _ONE) << np.uint64(3))


@inlined
def _decode(bit0: Bitboard, bit1: Bitboard, bit2: Bitboard, bit3: Bitboard, codes: Codes, by_square: Bitboards) -> None:
    """Fill in the piece code of each square [64] and what the piece there attacks [64]."""
    occupied = bit0 | bit1 | bit2
    for square in range(64):
        code = _code_at(bit0, bit1, bit2, bit3, square)
        codes[square] = code
        by_square[square] = _attacks_of(code, square, occupied) if code else _NONE


@compiled("(uint64[:, ::1], uint8[:, ::1], uint64[:, ::1])")
def decode(planes: Bitboards, codes: Codes, by_square: Bitboards) -> None:
    """Piece codes [B, 64] and what the pieces attack [B, 64], of planes [B, 4]."""
    for b in range(len(planes)):
        _decode(planes[b, 0], planes[b, 1], planes[b, 2], planes[b, 3], codes[b], by_square[b])


@inlined
def _castle(
    targets: Bitboards,
    rook: int,
    king: int,
    occupied: Bitboard,
    check: Bitboard,
    danger: Bitboard,
    pinned: Bitboard,
) -> None:
    """Add king-takes-own-rook to the king's targets if it is legal."""
    if check or king >= 8 or rook >= 8 or pinned & _BIT[rook]:
        return
    king_to, rook_to = (chess.G1, chess.F1) if rook > king else (chess.C1, chess.D1)
    king_path = _BETWEEN[king, king_to] | _BIT[king_to]
    travelled = king_path | _BETWEEN[rook, rook_to] | _BIT[rook_to]
    free = travelled & occupied & ~_BIT[king] & ~_BIT[rook] == _NONE
    if free and king_path & danger & ~_BIT[king] == _NONE:
        targets[king] |= _BIT[rook]


@inlined
def _fill_targets(
    bit0: Bitboard,
    bit1: Bitboard,
    bit2: Bitboard,
    bit3: Bitboard,
    codes: Codes,
    by_square: Bitboards,
    targets: Bitboards,
) -> None:
    """Fill in where the piece of each square may go [64]; see `legal_moves`."""
    occupied = bit0 | bit1 | bit2
    own, opponent, en_passant = occupied & ~bit3, occupied & bit3, bit3 & ~occupied
    king = _king(codes, _KING)

    # Squares the king may not enter: attacked ones, and those behind it on the line of a sliding checker.
    check = danger = _NONE
    for square in range(64):
        if opponent & _BIT[square]:
            danger |= by_square[square]
            if by_square[square] & _BIT[king]:
                check |= _BIT[square]
                if _SLIDES[codes[square]]:
                    danger |= _BEYOND[square, king]

    # Where the other pieces may go: anywhere, or onto the line of the one checker, or nowhere.
    evasion = _NONE
    if check == _NONE:
        evasion = _ALL
    elif _is_one(check):
        evasion = _BETWEEN[king, _square_of(check)] | check

    for square in range(64):
        if not own & _BIT[square]:
            targets[square] = _NONE
        elif square == king:
            targets[square] = _LEAPERS[_KING, king] & ~own & ~danger
        elif codes[square] == _PAWN:
            advance = _BIT[square] << _EIGHT & ~occupied
            double = (advance & _THIRD_RANK) << _EIGHT & ~occupied
            targets[square] = (by_square[square] & opponent | advance | double) & evasion
            targets[square] |= by_square[square] & en_passant
        else:
            targets[square] = by_square[square] & ~own & evasion

    # A piece alone between its king and a slider may move on that line only.
    pinned = _NONE
    for square in range(64):
        if opponent & _BIT[square] and _SLIDES[codes[square]] & _LINE[king, square]:
            shield = _BETWEEN[king, square] & occupied
            if _is_one(shield) and shield & own:
                targets[_square_of(shield)] &= _BETWEEN[king, square] | _BIT[square]
                pinned |= shield

    for square in range(8):
        if codes[square] == _CASTLING_ROOK:
            _castle(targets, square, king, occupied, check, danger, pinned)


@inlined
def _count(bitboard: Bitboard) -> int:
    """Its squares."""
    count = 0
    while bitboard:
        bitboard &= bitboard - _ONE
        count += 1
    return count


@inlined
def _landing(targets: Bitboards, codes: Codes, square: int) -> Bitboard:
    """Where the pawn of a square promotes."""
    return targets[square] & _LAST_RANK if codes[square] == _PAWN else _NONE


@compiled("Tuple((int64[::1], uint16[::1]))(uint64[:, ::1], uint8[:, ::1], uint64[:, ::1])")
def legal_moves(planes: Bitboards, codes: Codes, by_square: Bitboards) -> tuple[NDArray[np.int64], Moves]:
    """Where each position's moves begin [B + 1], and policy indices [M], ascending in every position."""
    count = len(planes)
    targets = np.empty((count, 64), np.uint64)
    offsets = np.zeros(count + 1, np.int64)
    for b in range(count):
        _fill_targets(planes[b, 0], planes[b, 1], planes[b, 2], planes[b, 3], codes[b], by_square[b], targets[b])
        moves = 0
        for square in range(64):
            moves += _count(targets[b, square]) + 3 * _count(_landing(targets[b], codes[b], square))
        offsets[b + 1] = offsets[b] + moves
    found = np.empty(offsets[count], np.uint16)
    at = 0
    for b in range(count):
        for square in range(64):
            left = targets[b, square]
            while left:
                bit = _lowest(left)
                left ^= bit
                found[at] = square * 64 + _square_of(bit)
                at += 1
        for square in range(48, 56):
            landing = _landing(targets[b], codes[b], square)
            while landing:
                bit = _lowest(landing)
                landing ^= bit
                direction = _square_of(bit) - (square + 8) + 1
                for piece in range(3):
                    found[at] = UNDERPROMOTION_OFFSET + (square - 48) * 9 + direction * 3 + piece
                    at += 1
    return offsets, found


@compiled("uint64[::1](uint64[:, ::1])")
def signatures(planes: Bitboards) -> Bitboards:
    """[B] numbers of planes [B, 4]; see `structure.signatures`."""
    found = np.empty(len(planes), np.uint64)
    for b in range(len(planes)):
        bit0, bit1, bit2, opponent = planes[b]
        pawns = bit0 & ~bit1 & ~bit2
        rooks = bit2 & (~(bit0 | bit1) | bit0 & bit1)
        left = _NONE
        for pieces in (bit1 & ~bit0 & ~bit2, bit0 & bit1 & ~bit2, rooks, bit0 & bit2 & ~bit1):
            for side in (pieces & ~opponent, pieces & opponent):
                left = left << np.uint64(4) | np.uint64(_count(side))
        found[b] = (pawns & ~opponent) * _OWN_PAWNS + (pawns & opponent) * _OTHER_PAWNS + left * _PIECES_LEFT
    return found


@compiled("(uint8[:, ::1], uint64[:, ::1], uint8[:, :, ::1], uint8[:, :, ::1])")
def fill_features(codes: Codes, by_square: Bitboards, squares: NDArray[np.uint8], attackers: NDArray[np.uint8]) -> None:
    """Square features [B, F, 64] and which piece attacks which square [B, 64, 64]; both begin as zeros."""
    for b in range(len(codes)):
        king = _king(codes[b], _KING)
        for square in range(64):
            code = codes[b, square]
            if code == 0:
                continue
            if code == _EN_PASSANT:
                squares[b, _PASSED, square] = 1
                continue
            slot = _SLOT[code]
            squares[b, slot, square] = 1
            if code == _CASTLING_ROOK:
                squares[b, _CASTLES, square] = 1
            elif code == _OPPOSING_CASTLING_ROOK:
                squares[b, _OPPOSING_CASTLES, square] = 1
            if code > _EN_PASSANT and by_square[b, square] & _BIT[king]:
                squares[b, _CHECKS, square] = 1
            side = _OWN_ATTACKERS if code < _EN_PASSANT else _OPPOSING_ATTACKERS
            left = by_square[b, square]
            while left:
                bit = _lowest(left)
                left ^= bit
                target = _square_of(bit)
                attackers[b, square, target] = 1
                squares[b, _ATTACKED + slot, target] = 1
                squares[b, side, target] += 1


@inlined
def _is_attacked(square: int, bit0: Bitboard, bit1: Bitboard, bit2: Bitboard, bit3: Bitboard) -> bool:
    """Whether the mover attacks a square; the king's attacks are left out."""
    own = (bit0 | bit1 | bit2) & ~bit3
    occupied = bit0 | bit1 | bit2
    straight = own & bit2 & ~(bit1 & ~bit0)  # rooks, queens and castling rooks, but not kings
    diagonal = own & bit0 & (bit1 ^ bit2)
    if _LEAPERS[_KNIGHT, square] & own & bit1 & ~bit0 & ~bit2:
        return True
    if _LEAPERS[_OPPOSING_PAWN, square] & own & bit0 & ~bit1 & ~bit2:
        return True
    if _slide(square, occupied, 0) & straight:
        return True
    return bool(_slide(square, occupied, 2) & diagonal != _NONE)


@inlined
def _flipped(bitboard: Bitboard) -> Bitboard:
    """Its ranks the other way round."""
    swapped = _NONE
    for _ in range(8):
        swapped = swapped << _EIGHT | bitboard & np.uint64(0xFF)
        bitboard >>= _EIGHT
    return swapped


@inlined
def _seen_by_opponent(
    bit0: Bitboard, bit1: Bitboard, bit2: Bitboard, bit3: Bitboard
) -> tuple[Bitboard, Bitboard, Bitboard, Bitboard]:
    """The boards of the same pieces, without an en-passant square."""
    bit0, bit1, bit2 = _flipped(bit0), _flipped(bit1), _flipped(bit2)
    return bit0, bit1, bit2, (bit0 | bit1 | bit2) & ~_flipped(bit3)


@inlined
def _placed(
    bit0: Bitboard, bit1: Bitboard, bit2: Bitboard, code: int, at: Bitboard
) -> tuple[Bitboard, Bitboard, Bitboard]:
    """The boards with one more of the mover's pieces."""
    return (
        bit0 | (at if code & 1 else _NONE),
        bit1 | (at if code & 2 else _NONE),
        bit2 | (at if code & 4 else _NONE),
    )


@inlined
def _squares_of_move(move: int) -> tuple[int, int]:
    """From where to where a policy index goes."""
    if move < UNDERPROMOTION_OFFSET:
        return move // 64, move % 64
    file, rest = (move - UNDERPROMOTION_OFFSET) // 9, (move - UNDERPROMOTION_OFFSET) % 9
    return 48 + file, 55 + file + rest // 3


@inlined
def _after(
    bit0: Bitboard, bit1: Bitboard, bit2: Bitboard, bit3: Bitboard, move: int
) -> tuple[Bitboard, Bitboard, Bitboard, Bitboard]:
    """The boards after a legal move, still seen by the one who moved.

    They hold no en-passant square, even after a pawn's step of two, and a king that moved keeps its castling rooks.
    """
    origin, target = _squares_of_move(move)
    code, taken = _code_at(bit0, bit1, bit2, bit3, origin), _code_at(bit0, bit1, bit2, bit3, target)
    reached = _BIT[target]
    gone = _BIT[origin] | reached
    if code == _PAWN:
        if taken == _EN_PASSANT:
            gone |= reached >> _EIGHT
        if move >= UNDERPROMOTION_OFFSET:
            code = _KNIGHT + (move - UNDERPROMOTION_OFFSET) % 3
        elif target >= 56:
            code = _QUEEN
    castles = code == _KING and 0 < taken < _EN_PASSANT
    if code == _CASTLING_ROOK:
        code = _ROOK
    occupied = bit0 | bit1 | bit2
    bit0, bit1, bit2, bit3 = bit0 & ~gone, bit1 & ~gone, bit2 & ~gone, bit3 & occupied & ~gone
    if castles:
        king_to, rook_to = (chess.G1, chess.F1) if target > origin else (chess.C1, chess.D1)
        reached = _BIT[king_to]
        bit0, bit1, bit2 = _placed(bit0, bit1, bit2, _ROOK, _BIT[rook_to])
    bit0, bit1, bit2 = _placed(bit0, bit1, bit2, code, reached)
    return bit0, bit1, bit2, bit3


@inlined
def _can_take_en_passant(bit0: Bitboard, bit1: Bitboard, bit2: Bitboard, bit3: Bitboard, pawn: int, king: int) -> bool:
    """Whether the opponent can take the `pawn` that has just stepped past; the boards are seen by the one who moved."""
    for beside in (pawn - 1, pawn + 1):  # pawns stand on the fourth rank here
        at = _BIT[beside]
        if beside // 8 != pawn // 8 or not at & bit0 & ~bit1 & ~bit2 & bit3:
            continue
        gone, reached = at | _BIT[pawn], _BIT[pawn - 8]
        if not _is_attacked(king, bit0 & ~gone | reached, bit1, bit2, bit3 & ~gone | reached):
            return True
    return False


@compiled("uint16[::1](uint64[:, ::1], uint8[:, ::1], int64[::1], uint16[::1])")
def mating_moves(planes: Bitboards, codes: Codes, offsets: NDArray[np.int64], moves: Moves) -> Moves:
    """Of each position [B] a move that mates at once, or NO_MOVE; see `mates.mating_moves`."""
    mating = np.full(len(planes), NO_MOVE, np.uint16)
    codes_after = np.empty(64, np.uint8)
    by_square, targets = np.empty(64, np.uint64), np.empty(64, np.uint64)
    for b in range(len(planes)):
        king = _king(codes[b], _OPPOSING_KING)
        for number in moves[offsets[b] : offsets[b + 1]]:
            move = _signed(number)
            if move >= UNDERPROMOTION_OFFSET and (move - UNDERPROMOTION_OFFSET) % 3:
                continue  # a rook or a bishop mates only where a queen does
            bit0, bit1, bit2, bit3 = _after(planes[b, 0], planes[b, 1], planes[b, 2], planes[b, 3], move)
            if not _is_attacked(king, bit0, bit1, bit2, bit3):
                continue
            seen0, seen1, seen2, seen3 = _seen_by_opponent(bit0, bit1, bit2, bit3)
            _decode(seen0, seen1, seen2, seen3, codes_after, by_square)
            _fill_targets(seen0, seen1, seen2, seen3, codes_after, by_square, targets)
            if targets.any():
                continue
            origin, target = _squares_of_move(move)
            steps_past = codes[b, origin] == _PAWN and target - origin == 16
            if not (steps_past and _can_take_en_passant(bit0, bit1, bit2, bit3, target, king)):
                mating[b] = move
                break
    return mating


@compiled("Tuple((uint64, uint64, uint64, uint64, boolean))(uint64, uint64, uint64, uint64, int64)")
def play(
    bit0: Bitboard, bit1: Bitboard, bit2: Bitboard, bit3: Bitboard, move: int
) -> tuple[Bitboard, Bitboard, Bitboard, Bitboard, bool]:
    """The boards after a legal move, seen by the opponent, and whether it was a pawn's move or a capture."""
    origin, target = _squares_of_move(move)
    code = _code_at(bit0, bit1, bit2, bit3, origin)
    steps_past = code == _PAWN and target - origin == 16
    starts_clock = code == _PAWN or _code_at(bit0, bit1, bit2, bit3, target) > _EN_PASSANT
    bit0, bit1, bit2, bit3 = _after(bit0, bit1, bit2, bit3, move)
    if code == _KING:
        without_right = ~(bit0 & bit1 & bit2 & ~bit3)
        bit0, bit1 = bit0 & without_right, bit1 & without_right
    passed = _NONE
    if steps_past:
        king = _square_of(_lowest(bit1 & bit2 & ~bit0 & bit3))
        if _can_take_en_passant(bit0, bit1, bit2, bit3, target, king):
            passed = _flipped(_BIT[target - 8])
    bit0, bit1, bit2, bit3 = _seen_by_opponent(bit0, bit1, bit2, bit3)
    return bit0, bit1, bit2, bit3 | passed, starts_clock
