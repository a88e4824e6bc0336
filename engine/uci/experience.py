"""The engine's own deep searches of a game, kept as PGN that scripts/remember.py takes: learning from experience."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import chess

from dejavu.engine.search.lines import BestMove, Info, Line, centipawns
from dejavu.retrieval.atomic import WriteError, append

DEEP_NODES = 200
"""A search of fewer nodes says little that the network would not say by itself."""

_EVENT = "Dejavu's experience"
_FIRST_LINE = f'[Event "{_EVENT}"]\n'.encode()
_LAST_BYTES = 2**20
"""More than a game takes."""

Key = tuple["str | None", tuple[str, ...]]
"""A position of a game: the FEN that the game began with, and the moves since."""


class Experience:
    """What deep searches found in the positions of a game."""

    def __init__(self) -> None:
        self._found: dict[Key, tuple[str, Line]] = {}
        self._unwritten = b""
        """Whole games that no file has taken yet."""

    def note(self, fen: str | None, moves: Sequence[str], info: Info | None, best: BestMove) -> None:
        """Keep the result of a search after `moves` from `fen`, if it was a deep one or has proven a mate."""
        if info is None or best.move is None:
            return
        if info.nodes >= DEEP_NODES or info.lines[0].mate is not None:
            self._found[fen, tuple(moves)] = best.move, info.lines[0]

    def clear(self) -> None:
        """Forget what was noted of the game."""
        self._found.clear()

    def append(self, path: Path, start: chess.Board, fen: str | None, moves: Sequence[str]) -> None:
        """Add the game, see `line_played`, to a PGN file if a position of it was searched deeply.

        It goes there after those that could not be added. Raises WriteError; the games are then kept for the next call.
        """
        self._unwritten += self._game(start, fen, line_played(self._found, fen, moves)).encode()
        if self._unwritten:
            try:
                append(path, self._unwritten, at=_unfinished(path))
            except OSError as error:
                raise WriteError.of(path, error) from error
            self._unwritten = b""

    def _game(self, start: chess.Board, fen: str | None, moves: Sequence[str]) -> str:
        """The game as PGN in the Lichess convention; empty if no position of it was searched deeply.

        `[%eval]` is the search's score, a variation its move where another one was played.
        """
        lessons = [self._found.get((fen, tuple(moves[:ply]))) for ply in range(len(moves) + 1)]
        if not any(lessons):
            return ""
        import chess.pgn  # here, since it makes every start later by a few hundredths of a second

        game = chess.pgn.Game()
        game.headers["Event"] = _EVENT
        game.headers["Date"] = f"{datetime.date.today():%Y.%m.%d}"
        game.setup(start)
        board, node = start.copy(), game.end()
        for lesson, played in zip(lessons, [*moves, None], strict=True):
            best = None
            if lesson is not None:
                best = board.parse_uci(lesson[0])
                node.comment = f"[%eval {_evaluation(lesson[1], board.turn)}]"
            move = board.parse_uci(played) if played is not None else best
            if move is None:
                break
            following = node.add_main_variation(move)
            if best is not None and best != move:
                node.add_variation(best)
            board.push(move)
            node = following
        return f"{game}\n\n"


def line_played(noted: Iterable[Key], fen: str | None, moves: Sequence[str]) -> Sequence[str]:
    """The moves of a game that is over: the longest line noted that begins with `moves`.

    Its last position need not be the one after `moves`: users go back in a game that is over to look at it.
    """
    begun = tuple(moves)
    later = [line for start, line in noted if start == fen and line[: len(begun)] == begun]
    return max(reversed(later), key=len, default=begun)  # of equal ones the last


def _unfinished(path: Path) -> int | None:
    """Where a last game of ours begins that a kill has cut short; None if there is none. Raises OSError."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = file.seek(max(0, size - _LAST_BYTES))
        end = file.read()
    begin = end.rfind(_FIRST_LINE)
    if begin >= 0:
        # A whole game is headers, a blank line, moves, a blank line; what follows it may be the next one's first bytes.
        parts = end[begin:].split(b"\n\n")
        if len(parts) < 3:
            return None if len(parts) == 2 and parts[1].endswith(b"*\n") else start + begin
        end = parts[-1]
    else:
        end = end[end.rfind(b"\n") + 1 :]
    return size - len(end) if end and _FIRST_LINE.startswith(end) else None


def _evaluation(line: Line, turn: chess.Color) -> str:
    """The score from White's side, in pawns or as #moves."""
    sign = 1 if turn == chess.WHITE else -1
    if line.mate is not None:
        return f"#{sign * line.mate}"
    win, _, loss = line.wdl  # not the score, whose unit is a matter of ScoreType
    return f"{sign * centipawns((win - loss) / 1000) / 100:.2f}"
