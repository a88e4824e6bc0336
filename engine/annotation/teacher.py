"""The teacher: a UCI engine that evaluates positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import chess
import chess.engine

from dejavu.engine.match.external import ENGINE_ERRORS, ExternalEngine
from dejavu.engine.match.pace import Pace
from dejavu.engine.match.players import PlayerSettings

OPTIONS_IF_OFFERED = {"Threads": "1", "Hash": "16"}
"""Set where the teacher has them: every process has a teacher, and a search is small."""
TEACHER_ERRORS = (*ENGINE_ERRORS, OSError)


@dataclass(frozen=True)
class TeacherSettings:
    """Which engine labels, and how long."""

    command: tuple[str, ...]
    options: Mapping[str, str]
    nodes: int | None
    """A position; None where `movetime` says how long."""
    movetime: int | None
    """Milliseconds a position."""
    patience: float
    """Seconds after which a silent teacher has failed."""

    @property
    def pace(self) -> str:
        """How long, in words."""
        return f"{self.nodes} nodes" if self.nodes else f"{self.movetime} ms"

    @property
    def player(self) -> PlayerSettings:
        """The teacher as an engine to play with."""
        pace = Pace(nodes=self.nodes, movetime=self.movetime and self.movetime / 1000)
        return PlayerSettings("the teacher", self.command, pace, self.options, OPTIONS_IF_OFFERED)


@dataclass(frozen=True)
class Verdict:
    """The teacher's view of a position, or the rules' where the game is over."""

    best: chess.Move | None
    score: chess.engine.PovScore | None
    outcome: chess.Outcome | None = None
    line: tuple[chess.Move, ...] = ()
    """How play would go on after the best move, where that is known."""


class Teacher:
    """A UCI engine that is started when it is needed, again after it failed."""

    def __init__(self, settings: TeacherSettings) -> None:
        self._settings = settings
        self._engine = ExternalEngine(settings.player, settings.patience)

    @property
    def name(self) -> str:
        """Engine and pace, once it has been started."""
        return f"{self._engine.name}, {self._settings.pace}"

    def start(self) -> None:
        """Raises PlayerError."""
        self._engine.start()

    def close(self) -> None:
        self._engine.close()

    def evaluate(self, board: chess.Board, game: object, claim_draw: bool) -> Verdict:
        """Best move and evaluation of a position of `game`; the teacher forgets all between games.

        Raises TEACHER_ERRORS.
        """
        outcome = board.outcome(claim_draw=claim_draw)
        if outcome is not None:
            draw = chess.engine.PovScore(chess.engine.Cp(0), chess.WHITE)
            return Verdict(None, None if outcome.winner is not None else draw, outcome)
        found = self._engine.play(board, game)
        # The last score, even where it is a bound: measured, it is nearer to a long search's than the last exact one.
        return Verdict(found.move, None if found.score is None else chess.engine.PovScore(found.score, board.turn))
