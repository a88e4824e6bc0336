"""A remembered position, told in the colours of the position that was asked about."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import chess

from dejavu.model.chess.encoding import Packed, index_to_move, unpack
from dejavu.retrieval.memory import Memory
from dejavu.retrieval.moves import NO_MOVE

Wdl = tuple[float, float, float]
"""Win, draw, loss for the side to move."""


@dataclass(frozen=True)
class Remembered:
    """An entry of a memory, for a person to read."""

    distance: float
    """Squared distance between the keys."""
    packed: Packed
    """The remembered position."""
    clock: int
    """Its clock byte."""
    continuation: tuple[int, ...]
    """Policy indices of the plies that followed, as far as they are known."""
    wdl: Wdl
    game: str
    """The line that names the game it comes from."""

    @property
    def move(self) -> int:
        """Policy index of the move played there, NO_MOVE if there is none."""
        return self.continuation[0] if self.continuation else NO_MOVE

    @property
    def is_evaluated(self) -> bool:
        """Whether anybody has evaluated the position: nobody has where win, draw and loss are as likely."""
        return max(self.wdl) - min(self.wdl) > 1e-3

    def board(self, asked: chess.Board) -> chess.Board:
        """The remembered position in the colours and with the move number of the one that was `asked` about.

        A memory knows neither which colour moved nor at which move of the game.
        """
        board = unpack(self.packed, self.clock)
        if asked.turn == chess.BLACK:
            board = board.mirror()
        board.fullmove_number = asked.fullmove_number
        return board

    def moves(self, asked: chess.Board) -> list[chess.Move]:
        """What followed, as far as it is legal; of `board`."""
        board = self.board(asked)
        found: list[chess.Move] = []
        for index in self.continuation:
            move = index_to_move(index, board)
            if not board.is_legal(move):
                break
            found.append(move)
            board.push(move)
        return found

    def line(self, asked: chess.Board, plies: int | None = None) -> str:
        """What followed, at most so many plies, in SAN with move numbers."""
        board = self.board(asked)
        words: list[str] = []
        for move in self.moves(asked)[:plies]:
            number = "" if board.turn == chess.BLACK and words else f"{board.fullmove_number}."
            words.append(f"{number}{'..' if number and board.turn == chess.BLACK else ''}{board.san(move)}")
            board.push(move)
        return " ".join(words)


def entry_fields(memory: Memory, entry: int, distance: float) -> dict[str, Any]:
    """What `Remembered` says of an entry at this distance, by field."""
    win, draw, loss = (memory.wdl[entry] / 255).tolist()
    return {
        "distance": distance,
        "packed": memory.boards[entry].astype("<u8").tobytes(),
        "clock": int(memory.clocks[entry]),
        "continuation": tuple(takewhile(lambda index: index != NO_MOVE, memory.continuations[entry].tolist())),
        "wdl": (win, draw, loss),
        "game": memory.game_name(int(memory.game[entry])),
    }
