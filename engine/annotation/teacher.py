"""The teacher: a UCI engine that judges positions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import chess
import chess.engine

TEACHER_OPTIONS = {"Threads": "1", "Hash": "16"}
"""Set where the teacher has them: every process has a teacher, and a search is small."""
START_SECONDS = 60.0
TEACHER_ERRORS = (chess.engine.EngineError, asyncio.TimeoutError, OSError)


@dataclass(frozen=True)
class TeacherSettings:
    """Which engine judges, and how long."""

    command: tuple[str, ...]
    options: Mapping[str, str]
    nodes: int | None
    """A position; None where `movetime` says how long."""
    movetime: int | None
    """Milliseconds a position."""
    patience: float
    """Seconds after which a silent teacher has failed."""


@dataclass(frozen=True)
class Verdict:
    """The teacher's view of a position, or the rules' where the game is over."""

    best: chess.Move | None
    score: chess.engine.PovScore | None
    outcome: chess.Outcome | None = None


class Teacher:
    """A UCI engine that is started when it is needed, again after it failed."""

    def __init__(self, settings: TeacherSettings) -> None:
        self.settings = settings
        self.engine: chess.engine.SimpleEngine | None = None
        self.name = ""
        # The time bounds a search that hangs: python-chess waits for an answer only where there is a time.
        seconds = settings.movetime / 1000 if settings.movetime else settings.patience
        self.limit = chess.engine.Limit(nodes=settings.nodes, time=seconds)

    def start(self) -> chess.engine.SimpleEngine:
        settings = self.settings
        if self.engine is None:
            # Signals of the terminal are for the script alone, which ends its teachers itself.
            command = list(settings.command)
            self.engine = chess.engine.SimpleEngine.popen_uci(command, timeout=START_SECONDS, setpgrp=True)
            self.engine.timeout = settings.patience
            offered = self.engine.options
            usual = {name: value for name, value in TEACHER_OPTIONS.items() if name in offered}
            self.engine.configure({**usual, **settings.options})
            pace = f"{settings.nodes} nodes" if settings.nodes else f"{settings.movetime} ms"
            self.name = f"{self.engine.id.get('name', command[0])}, {pace}"
        return self.engine

    def close(self) -> None:
        if self.engine is not None:
            self.engine.close()
            self.engine = None

    def judge(self, board: chess.Board, game: object, claim_draw: bool) -> Verdict:
        """Best move and evaluation of a position of `game`; the teacher forgets all between games."""
        outcome = board.outcome(claim_draw=claim_draw)
        if outcome is not None:
            draw = chess.engine.PovScore(chess.engine.Cp(0), chess.WHITE)
            return Verdict(None, None if outcome.winner is not None else draw, outcome)
        found = self.start().play(board, self.limit, game=game, info=chess.engine.INFO_SCORE)
        if found.move is None:
            raise chess.engine.EngineError(f"no move in {board.fen()}")
        # The last score, even where it is a bound: measured, it is nearer to a long search's than the last exact one.
        return Verdict(found.move, found.info.get("score"))


def after_best(score: chess.engine.PovScore | None) -> chess.engine.PovScore | None:
    """The evaluation after the best move: the same, but for a mate that is a move nearer now."""
    mate = None if score is None else score.relative.mate()
    if score is None or mate is None or mate <= 0:
        return score
    return chess.engine.PovScore(chess.engine.Mate(mate - 1), score.turn) if mate > 1 else None
