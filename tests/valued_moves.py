"""Tables of positions with the values of all moves, for tests."""

from __future__ import annotations

from pathlib import Path

import chess
import zstandard


def table_line(fen: str, **values: int) -> str:
    """The line of a position, whose moves are worth 0 where nothing else is said."""
    moves = {move.uci(): 0 for move in chess.Board(fen).legal_moves} | values
    return "|".join([fen, *(f"{move} {value}" for move, value in sorted(moves.items(), key=lambda item: -item[1]))])


def write_table(path: Path, *lines: str) -> None:
    """A compressed table of these lines."""
    path.write_bytes(zstandard.ZstdCompressor().compress("".join(f"{text}\n" for text in lines).encode()))
