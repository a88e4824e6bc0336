"""Moves that mate at once, for whole batches of positions: what the rules tell without a search.

A leaf where the mover mates is a won position, whatever the network thinks of it; knowing so lets the search prove
mates a ply deeper than it has looked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dejavu.model.attacks import Attacks, Bitboards, Planes, attacks, checkers, discoverers, king_squares, legal_mask
from dejavu.model.encoding import NO_MOVE, UNDERPROMOTION_OFFSET

_PAWN, _KNIGHT, _BISHOP, _ROOK, _QUEEN, _KING, _CASTLING_ROOK = range(1, 8)
_OPPOSING_KING = 14


def mating_moves(planes: Planes, sets: Attacks, legal: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """[B] policy index of a move that mates at once, or NO_MOVE.

    planes [B, 4], their attacks, and their legal moves [B, POLICY_SIZE]. Not looked at: castling, en passant, pawns
    that advance two squares, under-promotions.
    """
    mating = np.full(len(planes), NO_MOVE, dtype=np.uint16)
    king = np.argmax(sets.codes == _OPPOSING_KING, axis=1)
    row, move = _checking_moves(sets, king, legal)
    if len(row):
        replies = planes_after(planes[row], sets.codes[row, move // 64], move // 64, move % 64)
        after = attacks(replies)
        mated = ~legal_mask(replies, after).any(axis=1) & (checkers(after, king_squares(after.codes)) != 0)
        mating[row[mated]] = move[mated]
    return mating


def _checking_moves(
    sets: Attacks, king: NDArray[np.intp], legal: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and policy indices of the legal moves that attack the opposing `king` [B], from where they go or leave."""
    row, move = np.divmod(np.flatnonzero(legal[:, :UNDERPROMOTION_OFFSET]), UNDERPROMOTION_OFFSET)
    origin, target = move // 64, move % 64
    code = sets.codes[row, origin]
    promotes = (code == _PAWN) & (target >= 56)
    code = np.where(promotes, _QUEEN, code)
    attacking = sets.attacked_from(code, king[row], row)
    direct = _holds(attacking, target) | (promotes & _holds(attacking, origin))  # the pawn was in the queen's way
    discovered = _holds(discoverers(sets, king)[row], origin)
    castling = (code == _KING) & sets.is_own[row, target]
    en_passant = (code == _PAWN) & (origin % 8 != target % 8) & (sets.codes[row, target] == 8)
    two_squares = (code == _PAWN) & (target - origin == 16)
    kept = (direct | discovered) & ~castling & ~en_passant & ~two_squares
    return row[kept], move[kept]


def _holds(bitboards: Bitboards, squares: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether each bitboard [M] holds its square [M]."""
    held: NDArray[np.bool_] = bitboards >> squares.astype(np.uint64) & np.uint64(1) != 0
    return held


def planes_after(planes: Planes, code: NDArray[np.uint8], origin: NDArray[np.intp], target: NDArray[np.intp]) -> Planes:
    """Planes [B, 4] after the piece `code` [B] went from `origin` to `target` [B], seen by the opponent.

    For moves that move one piece and leave no en passant; pawns promote to queens.
    """
    code = np.where((code == _PAWN) & (target >= 56), _QUEEN, code)
    code = np.where(code == _CASTLING_ROOK, _ROOK, code)
    left = np.uint64(1) << origin.astype(np.uint64)
    reached = np.uint64(1) << target.astype(np.uint64)
    after = planes & ~(left | reached)[:, None]
    bits = (code[:, None] >> np.arange(3) & 1).astype(np.uint64)
    after[:, :3] |= bits * reached[:, None]
    occupied: Bitboards = after[:, 0] | after[:, 1] | after[:, 2]
    after[:, 3] = occupied & ~after[:, 3]
    return after.byteswap()
