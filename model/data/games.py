"""PGN text -> positions with targets, in the Lichess convention.

`[%eval x]` after a move evaluates the position it leads to, in pawns from White's side, `#n` is mate in n; before
the first move it evaluates the start. A variation beside a played move names the better move there, and how play would
go on after it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TextIO

import chess
import chess.pgn
import numpy as np

from dejavu.model.chess.encoding import Packed, clock_byte, move_to_index, pack, stack
from dejavu.model.data.columns import MATE, NO_EVALUATION, NO_RESULT, Columns
from dejavu.model.data.dataset import Searches
from dejavu.retrieval.moves import CONTINUATION_PLIES
from dejavu.retrieval.text import plain

_EVALUATION = re.compile(r"\[%eval\s+(?:(#)(-?\d+)|(-?\d+(?:\.\d+)?))")
_TAG = re.compile(r'^\[[A-Za-z0-9_]+\s+"')
_WHITE_RESULT = {"1-0": 1, "0-1": -1, "1/2-1/2": 0}
MAX_CENTIPAWNS = 20000


class BrokenGameError(ValueError):
    """A game that cannot be played through; the message says why."""


@dataclass(frozen=True)
class GamePositions(Columns):
    """The positions of one game."""

    name: str
    """One line, as `retrieval.names` reads it."""
    searches: Searches
    lines: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """Number of a position -> policy indices of the line beside it, the best move first; CONTINUATION_PLIES at most."""


def split_games(lines: TextIO) -> Iterator[str]:
    """The text of every game: a tag line that follows move text starts the next one."""
    game: list[str] = []
    in_moves = False
    for line in lines:
        if _TAG.match(line):
            if in_moves:
                yield "".join(game)
                game, in_moves = [], False
        elif line.strip() and not line.startswith((";", "%")):  # which begin a comment
            in_moves = True
        game.append(line)
    if "".join(game).strip():
        yield "".join(game)


def white_centipawns(comment: str) -> int | None:
    """The evaluation in a comment, from White's side; mates as +-(MATE - n)."""
    match = _EVALUATION.search(comment)
    if match is None:
        return None
    if match[1]:
        moves = int(match[2])
        return MATE - moves if moves > 0 else -MATE - moves
    return max(-MAX_CENTIPAWNS, min(MAX_CENTIPAWNS, round(float(match[3]) * 100)))


def _game_name(headers: chess.pgn.Headers) -> str:
    players = f"{headers.get('White', '?')} - {headers.get('Black', '?')}"
    opening = headers.get("Opening", "")
    if eco := headers.get("ECO", ""):
        opening = f"{opening} ({eco})".strip()
    year = headers.get("Date", "").split(".")[0].strip("?")
    result = headers.get("Result", "")
    parts = (players, headers.get("Event", "").strip("?"), year, opening, result if result in _WHITE_RESULT else "")
    return ", ".join(plain(part) for part in parts if part)


class _Collector(chess.pgn.BaseVisitor[GamePositions]):
    """Walks a game once and keeps what training needs."""

    def begin_game(self) -> None:
        self.packed: list[Packed] = []
        self.clocks: list[int] = []
        self.best: list[int] = []
        self.played: list[int] = []
        self.turns: list[bool] = []
        self.white: list[int | None] = [None]  # evaluation of the position before every move, and after the last
        self.seen: set[Packed] = set()
        self.depth = 0
        self.has_better_move = True  # no played move yet that a variation could stand beside
        self.lines: dict[int, list[int]] = {}
        self.line: list[int] | None = None  # of the better move, as long as the variation that names it lasts
        self.has_passed = False  # in this variation, whose moves from there on are no line of play

    def begin_headers(self) -> chess.pgn.Headers:
        self.headers = chess.pgn.Headers({})
        return self.headers

    def visit_header(self, tagname: str, tagvalue: str) -> None:
        self.headers[tagname] = tagvalue

    def end_headers(self) -> None:
        variant = self.headers.get("Variant", "Standard").lower()
        if variant not in ("standard", "chess", "normal", "from position", "chess960", "fischerandom"):
            raise BrokenGameError(f"variant {variant!r} is not standard chess")

    def visit_board(self, board: chess.Board) -> None:
        if not self.packed and not self.depth and not board.is_valid():
            raise BrokenGameError(f"start position is not legal: {board.fen()}")

    def visit_move(self, board: chess.Board, move: chess.Move) -> None:
        if not move:
            if not self.depth:
                raise BrokenGameError(f"move {board.fullmove_number} is a pass")
            self.has_passed = self.has_passed or self.depth == 1
        if self.has_passed:
            return
        index = move_to_index(move, board)
        if self.depth:
            if self.depth == 1 and not self.has_better_move:
                self.best[-1] = index
                self.has_better_move = True
                self.line = self.lines[len(self.best) - 1] = []
            if self.depth == 1 and self.line is not None and len(self.line) < CONTINUATION_PLIES:
                self.line.append(index)
            return
        packed = pack(board)
        self.clocks.append(clock_byte(board.halfmove_clock, packed in self.seen))
        self.seen.add(packed)
        self.packed.append(packed)
        self.played.append(index)
        self.best.append(index)
        self.turns.append(board.turn)
        self.white.append(None)
        self.has_better_move = False

    def visit_comment(self, comment: str) -> None:
        if not self.depth and (value := white_centipawns(comment)) is not None:
            self.white[-1] = value

    def begin_variation(self) -> None:
        self.depth += 1

    def end_variation(self) -> None:
        self.depth -= 1
        if not self.depth:
            self.has_better_move = self.has_better_move or self.line is not None
            self.line, self.has_passed = None, False

    def handle_error(self, error: Exception) -> None:
        raise BrokenGameError(str(error))

    def result(self) -> GamePositions:
        sign = np.where(self.turns, 1, -1).astype(np.int16)
        white = [NO_EVALUATION if value is None else value for value in self.white[:-1]]
        centipawns = np.array(white, dtype=np.int16)
        centipawns[centipawns != NO_EVALUATION] *= sign[centipawns != NO_EVALUATION]
        winner = _WHITE_RESULT.get(self.headers.get("Result", "*"))
        result = np.full(len(sign), NO_RESULT, np.int8) if winner is None else (sign * winner).astype(np.int8)
        return GamePositions(
            planes=stack(self.packed),
            clocks=np.array(self.clocks, dtype=np.uint8),
            best=np.array(self.best, dtype=np.uint16),
            played=np.array(self.played, dtype=np.uint16),
            centipawns=centipawns,
            result=result,
            name=_game_name(self.headers),
            searches=Searches.none(),
            lines=self.lines,
        )


def read_game(text: str) -> GamePositions:
    """Positions of one game of PGN text, none if it has no moves.

    Raises:
        BrokenGameError: an illegal or unreadable move, a start position that cannot be, a variant of chess.
    """
    try:
        game = chess.pgn.read_game(io.StringIO(text), Visitor=_Collector)
    except (ValueError, AssertionError) as error:
        raise BrokenGameError(str(error)) from None
    if game is None:
        raise BrokenGameError("no game in the text")
    return game
