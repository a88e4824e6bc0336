"""Moves that mate at once, for whole batches of positions: what the rules tell without a search.

A leaf where the mover mates is a won position, whatever the network thinks of it; knowing so lets the search prove
mates a ply deeper than it has looked.
"""

from __future__ import annotations

import chess
import numpy as np
from numpy.typing import NDArray

from dejavu.model.chess.attacks import (
    Attacks,
    Bitboards,
    Planes,
    attacks,
    checkers,
    discoverers,
    king_squares,
    legal_mask,
)
from dejavu.model.chess.encoding import UNDERPROMOTION_OFFSET
from dejavu.retrieval.moves import NO_MOVE

_PAWN, _KNIGHT, _BISHOP, _ROOK, _QUEEN, _KING, _CASTLING_ROOK, _EN_PASSANT = range(1, 9)
_OPPOSING_KING = 14
_ONE = np.uint64(1)


def mating_moves(planes: Planes, sets: Attacks, legal: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """[B] policy index of a move that mates at once, or NO_MOVE.

    planes [B, 4], their attacks, and their legal moves [B, POLICY_SIZE]. Where a pawn mates by promoting, it becomes
    a queen or a knight: a rook or a bishop mates only where a queen does.
    """
    mating = np.full(len(planes), NO_MOVE, dtype=np.uint16)
    king = np.argmax(sets.codes == _OPPOSING_KING, axis=1)
    row, move = _checking_moves(sets, king, legal)
    if len(row):
        origin, target = _squares(move)
        code = sets.codes[row, origin]
        replies = planes_after(planes[row], code, move)
        after = attacks(replies)
        mated = ~legal_mask(replies, after).any(axis=1) & (checkers(after, king_squares(after.codes)) != 0)
        stepped = np.flatnonzero(mated & (code == _PAWN) & (target - origin == 16))
        if len(stepped):
            mated[stepped[_can_take_en_passant(replies[stepped], after.codes[stepped], target[stepped] ^ 56)]] = False
        mating[row[mated]] = move[mated]
    return mating


def _squares(move: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """From where to where the policy indices [M] go."""
    file, rest = np.divmod(move - UNDERPROMOTION_OFFSET, 9)
    promotes = move >= UNDERPROMOTION_OFFSET
    return np.where(promotes, 48 + file, move // 64), np.where(promotes, 55 + file + rest // 3, move % 64)


def _checking_moves(
    sets: Attacks, king: NDArray[np.intp], legal: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and policy indices of the legal moves that may attack the opposing `king` [B]; few others are among them.

    A piece attacks it from where it goes, or opens a line by leaving. No promotions to a rook or a bishop.
    """
    row, move = np.divmod(np.flatnonzero(legal[:, :UNDERPROMOTION_OFFSET]), UNDERPROMOTION_OFFSET)
    origin, target = move // 64, move % 64
    code = sets.codes[row, origin]
    promotes = (code == _PAWN) & (target >= 56)
    attacking = sets.attacked_from(np.where(promotes, _QUEEN, code), king[row], row)
    discovering = discoverers(sets, king)
    kept = _holds(attacking, target) | _holds(discovering[row], origin)
    kept |= promotes & _holds(attacking, origin)  # the pawn was in the queen's way
    # Of two pieces that leave their squares, either may open a line, or both; it is rare enough to try all.
    kept |= (code == _PAWN) & (sets.codes[row, target] == _EN_PASSANT)
    castling = np.flatnonzero((code == _KING) & sets.is_own[row, target])
    if len(castling):
        its_king = king[row[castling]]
        rook_to = np.where(target[castling] > origin[castling], chess.F1, chess.D1)
        # All lines that castling opens or closes but the rook's file lie in the first rank.
        kept[castling] = (its_king < 8) | _holds(sets.slides[0, row[castling], its_king], rook_to)
    knight_row, number = np.divmod(np.flatnonzero(legal[:, UNDERPROMOTION_OFFSET::3]), 24)
    if len(knight_row):
        knight = UNDERPROMOTION_OFFSET + 3 * number
        origin, target = _squares(knight)
        attacking = sets.attacked_from(np.full(len(knight), _KNIGHT), king[knight_row], knight_row)
        checking = _holds(attacking, target) | _holds(discovering[knight_row], origin)
        return (
            np.concatenate([row[kept], knight_row[checking]]),
            np.concatenate([move[kept], knight[checking]]),
        )
    return row[kept], move[kept]


def _holds(bitboards: Bitboards, squares: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether each bitboard [M] holds its square [M]."""
    held: NDArray[np.bool_] = bitboards >> squares.astype(np.uint64) & _ONE != 0
    return held


def _bit(squares: NDArray[np.intp]) -> Bitboards:
    bits: Bitboards = _ONE << squares.astype(np.uint64)
    return bits


def planes_after(planes: Planes, code: NDArray[np.uint8], move: NDArray[np.intp]) -> Planes:
    """Planes [B, 4] after the legal moves [B] (policy indices) of the pieces `code` [B], seen by the opponent.

    They hold no en-passant square, even after a pawn's step of two; no promotions to a rook or a bishop.
    """
    origin, target = _squares(move)
    left, reached = _bit(origin), _bit(target)
    occupied: Bitboards = planes[:, 0] | planes[:, 1] | planes[:, 2]
    pawn = code == _PAWN
    taken_in_passing = np.where(pawn & (planes[:, 3] & ~occupied & reached != 0), reached >> np.uint64(8), 0)
    castles = (code == _KING) & (occupied & ~planes[:, 3] & reached != 0)
    kingside = target > origin
    code = np.where(pawn & (target >= 56), np.where(move < UNDERPROMOTION_OFFSET, _QUEEN, _KNIGHT), code)
    code = np.where(code == _CASTLING_ROOK, _ROOK, code)
    after = planes & ~(left | reached | taken_in_passing)[:, None]
    reached = np.where(castles, _bit(np.where(kingside, chess.G1, chess.C1)), reached)
    bits = (code[:, None] >> np.arange(3) & 1).astype(np.uint64)
    after[:, :3] |= bits * reached[:, None]
    after[:, 2] |= np.where(castles, _bit(np.where(kingside, chess.F1, chess.D1)), 0)  # a rook is code 4
    after[:, 3] = (after[:, 0] | after[:, 1] | after[:, 2]) & ~after[:, 3]
    return after.byteswap()


def _can_take_en_passant(planes: Planes, codes: NDArray[np.uint8], pawn: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether the mover of planes [M, 4], whose piece codes are [M, 64], can take the `pawn` [M] that stepped past."""
    can = np.zeros(len(planes), dtype=bool)
    for side in (-1, 1):
        beside = pawn + side
        on_board = beside // 8 == pawn // 8
        rows = np.flatnonzero(on_board & (codes[np.arange(len(codes)), np.where(on_board, beside, 0)] == _PAWN))
        after = planes[rows] & ~(_bit(pawn[rows]) | _bit(beside[rows]))[:, None]
        after[:, 0] |= _bit(pawn[rows] + 8)  # a pawn is code 1
        sets = attacks(after)
        can[rows] |= checkers(sets, king_squares(sets.codes)) == 0
    return can
