"""Where games begin: positions of an EPD file, games of a PGN file, or a table of openings."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import chess
import chess.pgn

from dejavu.retrieval.text import plain


class OpeningError(ValueError):
    """An opening file that cannot be played; the message is one sentence that names the place."""


@dataclass(frozen=True)
class Opening:
    """A position and moves from there, which both sides are given."""

    fen: str = chess.STARTING_FEN
    moves: tuple[chess.Move, ...] = ()
    name: str = ""

    def board(self) -> chess.Board:
        """The position after the moves, which are on its stack."""
        board = chess.Board(self.fen)
        for move in self.moves:
            board.push(move)
        return board


def read_openings(path: Path) -> list[Opening]:
    """Openings of an EPD file, of a PGN file (the main line of every game) or of a .tsv file (ECO, name, moves).

    Openings at whose end the game is over are left out, as tables hold quick mates, too. Raises OpeningError and
    OSError.
    """
    reader = {".pgn": _from_pgn, ".tsv": _from_table}.get(path.suffix.lower(), _from_epd)
    openings = []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise OpeningError(f"{path} is not UTF-8 text") from error
    for where, opening in reader(text):
        if isinstance(opening, str):
            raise OpeningError(f"{path}, {where}: {opening}")
        board = opening.board()
        if not board.is_valid():
            raise OpeningError(f"{path}, {where} is not a legal position")
        if not board.is_game_over():
            openings.append(opening)
    if not openings:
        raise OpeningError(f"{path} holds no openings that can be played on")
    return openings


_Found = Iterator[tuple[str, "Opening | str"]]
"""Where it stands, and the opening or what is wrong with it."""


def _from_epd(text: str) -> _Found:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            fields = line.split()
            # Files of full FENs are common, too.
            if len(fields) >= 6 and fields[4].isdigit() and fields[5].rstrip(";").isdigit():
                board, name = chess.Board(" ".join(fields[:6]).rstrip(";")), ""
            else:
                board, operations = chess.Board.from_epd(line)
                name = str(operations.get("id", ""))
        except (ValueError, IndexError) as error:
            yield f"line {number}", str(error)
        else:
            yield f"line {number}", Opening(board.fen(), (), plain(name))


def _from_game(text: io.StringIO, name: str = "") -> Opening | str | None:
    """The next game's main line; None at the end."""
    game = chess.pgn.read_game(text)
    if game is None:
        return None
    if game.errors:
        return str(game.errors[0])
    headers = game.headers
    name = name or f"{headers.get('ECO', '')} {headers.get('Opening', '')}".strip()
    return Opening(game.board().fen(), tuple(game.mainline_moves()), plain(name))


def _from_pgn(text: str) -> _Found:
    # The parser would log a traceback of what is said in one sentence.
    logging.getLogger("chess.pgn").setLevel(logging.CRITICAL)
    stream = io.StringIO(text)
    number = 0
    while (opening := _from_game(stream)) is not None:
        number += 1
        yield f"game {number}", opening


def _from_table(text: str) -> _Found:
    logging.getLogger("chess.pgn").setLevel(logging.CRITICAL)
    for number, row in enumerate(csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE), 1):
        if row and row[0].lower() == "eco":
            continue
        if len(row) < 3:
            yield f"line {number}", "not ECO, name and moves between tabs"
            continue
        opening = _from_game(io.StringIO(row[2]), f"{row[0]} {row[1]}")
        yield f"line {number}", opening if opening is not None else "no moves"
