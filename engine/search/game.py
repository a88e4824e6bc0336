"""A game as far as it has been played: what a `position` command says, and what the rules need to know of the past."""

from __future__ import annotations

import chess
import numpy as np
from numpy.typing import NDArray

from dejavu.model.chess.encoding import Packed, clock_byte, move_to_index, pack, stack


class PositionError(ValueError):
    """A `position` command that makes no sense; the message is one sentence for the user."""


_UNPLAYABLE = {
    chess.STATUS_NO_WHITE_KING: "White has no king",
    chess.STATUS_NO_BLACK_KING: "Black has no king",
    chess.STATUS_TOO_MANY_KINGS: "there are too many kings",
    chess.STATUS_PAWNS_ON_BACKRANK: "there is a pawn on the first or last rank",
    chess.STATUS_OPPOSITE_CHECK: "the side to move could take the king",
}


def start_board(fen: str | None, chess960: bool) -> chess.Board:
    """The position that a game begins with; raises PositionError if it cannot be played."""
    try:
        board = chess.Board(fen or chess.STARTING_FEN, chess960=chess960)
    except ValueError as error:
        raise PositionError(f"bad FEN '{fen}': {error}") from None
    status = board.status()
    for problem, words in _UNPLAYABLE.items():
        if status & problem:
            raise PositionError(f"bad FEN '{fen}': {words}")
    # Rights without a rook and impossible en-passant squares are common in hand-made FENs, and harmless.
    board.castling_rights = board.clean_castling_rights()
    if status & chess.STATUS_INVALID_EP_SQUARE:
        board.ep_square = None
    return board


class Game:
    """A start position and the moves played, with what the rules need to know of the past."""

    def __init__(self, fen: str | None, chess960: bool) -> None:
        """`fen` None is the usual start; raises PositionError if the position cannot be played."""
        self.fen = fen
        self.chess960 = chess960
        self.board = start_board(fen, chess960)
        self.moves: list[str] = []
        self.indices: list[int] = []
        """Policy index of each move."""
        self.history: list[Packed] = []
        """Positions before this one, the latest last, back to the last capture or pawn move."""

    def play(self, text: str) -> None:
        """Play a move in UCI notation; raises PositionError if it is not legal."""
        board = self.board
        try:
            move = board.parse_uci(text)
        except ValueError:
            move = chess.Move.null()
        if not move:
            raise PositionError(f"illegal move '{text}' (number {len(self.moves) + 1}) in {board.fen()}")
        before = pack(board)
        self.indices.append(move_to_index(move, board))
        board.push(move)
        board.clear_stack()
        self.moves.append(text)
        self.history = [] if board.halfmove_clock == 0 else [*self.history[-100:], before]

    def copy(self) -> Game:
        """An independent copy."""
        other = Game.__new__(Game)
        other.fen, other.chess960 = self.fen, self.chess960
        other.board = self.board.copy(stack=False)
        other.moves, other.indices, other.history = self.moves[:], self.indices[:], self.history[:]
        return other

    def continues(self, other: Game) -> bool:
        """Whether this game is the other one with no or more moves played."""
        return (
            self.fen == other.fen
            and self.chess960 == other.chess960
            and self.indices[: len(other.indices)] == other.indices
        )


def packed_position(game: Game) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """The current position as a batch of one: planes [1, 4], clock byte [1]."""
    packed = pack(game.board)
    clock = clock_byte(game.board.halfmove_clock, packed in game.history[-2::-2])
    return stack([packed]), np.array([clock], np.uint8)
