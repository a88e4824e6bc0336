"""The position or the game that a user asks about: a FEN, or a game of a PGN file."""

from __future__ import annotations

import io
import logging
import os
import re
from itertools import islice
from pathlib import Path

import chess
import chess.pgn

from dejavu.model.chess.encoding import clock_byte
from dejavu.model.data.game_files import GameFileError, read_games

START = "startpos"
_VARIANTS = ("standard", "chess", "normal", "from position", "chess960", "fischerandom")
_MOVE = re.compile(r"(\d{1,4})([wb]?)")


class QuestionError(ValueError):
    """What cannot be asked about; the message is one sentence."""


def is_game_file(text: str) -> bool:
    """Whether an argument is the path of a file, and no FEN."""
    return os.path.isfile(text)


def read_position(fen: str) -> chess.Board:
    """The board of a FEN, or of START; raises QuestionError."""
    try:
        board = chess.Board(chess.STARTING_FEN if fen == START else fen)
    except ValueError as error:
        raise QuestionError(f"{fen!r} is neither a game file that is there nor a position: {error}") from None
    if not board.is_valid():
        raise QuestionError(f"the position {fen} is not legal")
    return board


def read_game(path: Path, number: int = 1) -> chess.pgn.Game:
    """A game of a PGN file, the first one unless told otherwise; raises QuestionError."""
    logging.getLogger("chess.pgn").setLevel(logging.CRITICAL)  # what is wrong is said in one sentence
    try:
        text = next(islice(read_games(path), number - 1, None), None)
    except GameFileError as error:
        raise QuestionError(str(error)) from None
    if text is None:
        raise QuestionError(f"game file {path} has no game {number}")
    return parse_game(text, f"game file {path}")


def parse_game(text: str, where: str) -> chess.pgn.Game:
    """The game of PGN text that comes from `where`; raises QuestionError."""
    try:
        game = chess.pgn.read_game(io.StringIO(text))
        if game is None:
            raise QuestionError(f"{where} has no game")
        variant = game.headers.get("Variant", "Standard")
        if variant.lower() not in _VARIANTS:
            raise QuestionError(f"{where}: the variant {variant!r} is not standard chess")
        if game.errors:
            raise QuestionError(f"{where}: {game.errors[0]}")
        if not game.board().is_valid():
            raise QuestionError(f"{where}: the game does not begin with a legal position")
        if game.next() is None:
            raise QuestionError(f"{where}: there is no game in it, or one without moves")
        if not all(game.mainline_moves()):
            raise QuestionError(f"{where}: a move of the game is a pass")
    except QuestionError:
        raise
    except (ValueError, AssertionError) as error:  # of headers that name no position
        raise QuestionError(f"{where}: {error}") from None
    return game


def position_of(game: chess.pgn.Game, before: str = "") -> tuple[chess.Board, int]:
    """A position of a game and its clock byte: before White's move 12 ("12", "12w"), Black's ("12b"), or the last.

    Raises QuestionError.
    """
    board = game.board()
    wanted: tuple[int, chess.Color] | None = None
    if before:
        match = _MOVE.fullmatch(before)
        if match is None:
            raise QuestionError(f"{before!r} names no move: 12 or 12w is White's twelfth, 12b Black's")
        wanted = int(match[1]), match[2] != "b"
    for move in game.mainline_moves():
        if wanted == (board.fullmove_number, board.turn):
            break
        board.push(move)
    else:
        if wanted not in (None, (board.fullmove_number, board.turn)):
            raise QuestionError(f"the game has no move {before}")
    return board, clock_byte(board.halfmove_clock, board.is_repetition(2))
