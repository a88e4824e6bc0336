"""The engine's own deep searches of a game, kept as PGN that scripts/remember.py takes: learning from experience."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import chess

from dejavu.engine.lines import BestMove, Info, Line, centipawns

DEEP_NODES = 200
"""A search of fewer nodes says little that the network would not say by itself."""

_Key = tuple["str | None", tuple[str, ...]]


class Experience:
    """What deep searches found in the positions of a game."""

    def __init__(self) -> None:
        self._found: dict[_Key, tuple[str, Line]] = {}

    def note(self, fen: str | None, moves: Sequence[str], info: Info | None, best: BestMove) -> None:
        """Keep the result of a search after `moves` from `fen`, if it was a deep one or has proven a mate."""
        if info is None or best.move is None:
            return
        if info.nodes >= DEEP_NODES or info.lines[0].mate is not None:
            self._found[fen, tuple(moves)] = best.move, info.lines[0]

    def clear(self) -> None:
        """Forget what was noted."""
        self._found.clear()

    def append(self, path: Path, start: chess.Board, fen: str | None, moves: Sequence[str]) -> bool:
        """Add the game to a PGN file in the Lichess convention; False if no position of it was searched deeply.

        `[%eval]` is the search's score, a variation its move where another one was played. Raises OSError.
        """
        lessons = [self._found.get((fen, tuple(moves[:ply]))) for ply in range(len(moves) + 1)]
        if not any(lessons):
            return False
        import chess.pgn  # here, since it makes every start later by a few hundredths of a second

        game = chess.pgn.Game()
        game.headers["Event"] = "Dejavu's experience"
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
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            print(game, file=file, end="\n\n")
        return True


def _evaluation(line: Line, turn: chess.Color) -> str:
    """The score from White's side, in pawns or as #moves."""
    sign = 1 if turn == chess.WHITE else -1
    if line.mate is not None:
        return f"#{sign * line.mate}"
    win, _, loss = line.wdl  # not the score, whose unit is a matter of ScoreType
    return f"{sign * centipawns((win - loss) / 1000) / 100:.2f}"
