"""The endings of king and queen, rook or pawn against king, solved to the last move.

The tables are computed when an ending draws near, in about a second, by retrograde analysis: from the mates backwards,
one ply at a time, for all positions at once. The side with the piece is called the attacker and plays up the board.
Square dimensions: attacker's king K, defender's king D, piece P, a target square T; a table is [K, D, P].
"""

from __future__ import annotations

import threading
from itertools import starmap
from typing import NamedTuple

import chess
import numpy as np
from numpy.typing import NDArray

SOLVED_MEN = 3
"""That these endings have."""

MEN_IN_SIGHT = 7
"""The tables are made once a game has no more men than this."""

Table = NDArray[np.int8]
_Flags = NDArray[np.bool_]

NOT_LOST = -1
_LONGEST_MATE = 80
"""Plies; the longest in these endings, of a pawn, has 55."""

_SQUARES = np.arange(64)
_FILE, _RANK = _SQUARES % 8, _SQUARES // 8
_STEPS = [(files, ranks) for files in (-1, 0, 1) for ranks in (-1, 0, 1) if files or ranks]


class Solved(NamedTuple):
    """One ending: plies to mate."""

    wins: Table
    """[K, D, P] attacker to move; 0 where there is no win, or no such position."""
    losses: Table
    """[K, D, P] defender to move; NOT_LOST where it is not lost, 0 where it is mated."""


def _flags(bitboards: list[int]) -> _Flags:
    """[len, 64] the squares of each bitboard."""
    data = np.array(bitboards, dtype="<u8").view(np.uint8).reshape(-1, 8)
    return np.unpackbits(data, axis=1, bitorder="little").astype(bool)


_SAME: _Flags = np.eye(64, dtype=bool)
_CLEAR: _Flags = ~_flags([chess.between(a, b) for a in chess.SQUARES for b in chess.SQUARES]).reshape(64, 64, 64)
"""[P, T, D] whether a piece on D is not in the way from P to T."""
_NEAR: _Flags = _flags(list(chess.BB_KING_ATTACKS)) | _SAME
"""[64, 64] squares too near for two kings."""


def _steps(files: int, ranks: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Squares from which a king's step stays on the board, and where it leads."""
    inside = (_FILE + files >= 0) & (_FILE + files < 8) & (_RANK + ranks >= 0) & (_RANK + ranks < 8)
    return _SQUARES[inside], (_SQUARES + 8 * ranks + files)[inside]


def _reach(piece: chess.PieceType) -> _Flags:
    """[K, P, T] squares that the attacker's piece attacks if only its king is in the way."""
    board = chess.BaseBoard(None)
    attacked = []
    for king in chess.SQUARES:
        board.set_piece_at(king, chess.Piece(chess.KING, chess.WHITE))
        for square in chess.SQUARES:
            if square != king:
                board.set_piece_at(square, chess.Piece(piece, chess.WHITE))
            attacked.append(board.attacks_mask(square) if square != king else 0)
            if square != king:
                board.remove_piece_at(square)
        board.remove_piece_at(king)
    return _flags(attacked).reshape(64, 64, 64)


def solve(piece: chess.PieceType, promoted: tuple[Solved, ...] = ()) -> Solved:
    """Retrograde analysis of king and `piece` against king; a pawn needs the endings it may be `promoted` to."""
    reach = _reach(piece)
    check = reach.transpose(0, 2, 1)
    legal = ~_NEAR[:, :, None] & ~_SAME[:, None, :] & ~_SAME[None, :, :]
    if piece == chess.PAWN:
        legal &= (_RANK > 0) & (_RANK < 7)
    flights = [
        (origin, target, ~_NEAR[:, target, None] & ~check[:, target, :]) for origin, target in starmap(_steps, _STEPS)
    ]
    may_move = np.zeros_like(legal)
    for origin, _, allowed in flights:
        may_move[:, origin] |= allowed
    wins = np.zeros((64, 64, 64), dtype=np.int8)
    losses = np.full((64, 64, 64), NOT_LOST, dtype=np.int8)
    losses[legal & check & ~may_move] = 0
    for plies in range(1, _LONGEST_MATE, 2):
        newly_lost = losses == plies - 1
        if not newly_lost.any() and not any((ending.losses >= plies - 1).any() for ending in promoted):
            break
        winning = _moves_back(piece, newly_lost, reach)
        for ending in promoted:
            winning[:, :, 48:56] |= (ending.losses == plies - 1)[:, :, 56:64]
        wins[winning & legal & ~check & (wins == 0)] = plies
        saved = np.zeros_like(legal)
        for origin, target, allowed in flights:  # taking the piece saves, too: no position wins without it
            saved[:, origin] |= allowed & (wins[:, target] == 0)
        losses[legal & may_move & ~saved & (losses == NOT_LOST)] = plies + 1
    return Solved(wins, losses)


def _moves_back(piece: chess.PieceType, reached: _Flags, reach: _Flags) -> _Flags:
    """[K, D, P] positions from which a move of the attacker leads to one of those `reached`; legal or not."""
    before = np.zeros_like(reached)
    for squares, after in starmap(_steps, _STEPS):
        before[squares] |= reached[after]
    if piece == chess.PAWN:
        before[:, :, 8:48] |= reached[:, :, 16:56]
        in_the_way = _SAME[:, None, 16:24] | _SAME[None, :, 16:24]
        before[:, :, 8:16] |= reached[:, :, 24:32] & ~in_the_way
        return before
    for target in np.flatnonzero(reached.any(axis=(0, 1))).tolist():
        for origin in np.flatnonzero(reach[:, :, target].any(axis=0)).tolist():
            from_there = reached[:, :, target] & reach[:, None, origin, target] & _CLEAR[origin, target]
            before[:, :, origin] |= from_there
    return before


class Endings:
    """The solved endings, once they have been made; until then nothing is known of them."""

    def __init__(self) -> None:
        self._solved: dict[chess.PieceType, Solved] = {}
        self._maker: threading.Thread | None = None

    def prepare(self, board: chess.Board) -> None:
        """Begin to make the tables, in a thread of their own, if `board` is near to them."""
        if self._maker is None and chess.popcount(board.occupied) <= MEN_IN_SIGHT:
            self._maker = threading.Thread(target=self.make, name="endings", daemon=True)
            self._maker.start()

    def make(self) -> None:
        """Make the tables; takes about a second."""
        queen, rook = solve(chess.QUEEN), solve(chess.ROOK)
        pawn = solve(chess.PAWN, (queen, rook))
        self._solved = {chess.QUEEN: queen, chess.ROOK: rook, chess.PAWN: pawn}

    def result(self, board: chess.Board) -> tuple[int, int] | None:
        """1, 0 or -1 for the side to move, and the plies to mate; None if the position is not in the tables.

        None also where the fifty-move rule may come before the mate.
        """
        if chess.popcount(board.occupied) != SOLVED_MEN or not self._solved:
            return None
        square = chess.msb(board.occupied & ~board.kings)
        piece = board.piece_at(square)
        assert piece is not None
        if piece.piece_type not in self._solved:
            return None
        flip = 0 if piece.color == chess.WHITE else 56
        attacker, defender = board.king(piece.color), board.king(not piece.color)
        assert attacker is not None
        assert defender is not None
        index = attacker ^ flip, defender ^ flip, square ^ flip
        table = self._solved[piece.piece_type]
        attacks = board.turn == piece.color
        plies = int(table.wins[index] if attacks else table.losses[index])
        if plies == (0 if attacks else NOT_LOST):
            return 0, 0
        if board.halfmove_clock + plies > 100:
            return None
        return (1 if attacks else -1), plies

    def best_moves(self, board: chess.Board) -> list[chess.Move]:
        """The moves that keep a win and mate soonest, that keep a draw, or that resist longest; empty if unknown."""
        if self.result(board) is None:
            return []
        ranked: list[tuple[tuple[int, int], chess.Move]] = []
        for move in board.legal_moves:
            board.push(move)
            result = (0, 0) if board.is_insufficient_material() or board.is_stalemate() else self.result(board)
            board.pop()
            if result is None:
                return []
            outcome, plies = result
            ranked.append(((-outcome, outcome * plies), move))
        best = max((rank for rank, _ in ranked), default=None)
        return [move for rank, move in ranked if rank == best]
