"""What the moves of engines cost, by the word of a stronger one: settings and nets compared without games.

All engines search the same positions. Where they play different moves, the judge evaluates the position after each. So
few positions have to be judged, and the difference of two engines is known from far fewer searches than games take.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chess
import numpy as np
from numpy.typing import NDArray

from dejavu.engine.annotation.labels import Labels, whole_lines
from dejavu.engine.annotation.output import OutputError
from dejavu.engine.annotation.quick_teacher import QuickTeacher
from dejavu.engine.annotation.teacher import TeacherSettings
from dejavu.engine.match.players import PlayerSettings
from dejavu.engine.match.solve import Share
from dejavu.engine.match.solving import solve_batched, solve_by_engines
from dejavu.engine.match.suites import Problem
from dejavu.model.data.dataset import wdl_of
from dejavu.retrieval.atomic import append
from dejavu.retrieval.progress import followed, progress_bar

MOST_CENTIPAWNS = 10_000
"""Evaluations beyond are as good as won."""


@dataclass(frozen=True)
class RegretRun:
    """Which engines search which positions, and who judges; the same run goes on after a kill."""

    problems: Sequence[Problem]
    engines: Sequence[PlayerSettings]
    judge: TeacherSettings
    folder: Path
    """Keeps the moves and the judge's words."""
    batched: int | None = None
    """So many positions at once in this process, for option sets of this Dejavu; None: every engine is a process."""


@dataclass(frozen=True)
class RegretReport:
    """What the moves of every engine are worth."""

    engines: Sequence[PlayerSettings]
    judge: str
    values: NDArray[np.float64]
    """[positions, engines] Q of the move played, -1 to 1, as the judge sees it; 0 where all play the same."""

    def gain(self, engine: int) -> Share:
        """Q a move that an engine's moves are worth more than the first one's."""
        return Share.of(self.values[:, engine] - self.values[:, 0])

    def __str__(self) -> str:
        width = max(len(engine.name) for engine in self.engines)
        lines = [
            f"{len(self.values):,} positions, judged by {self.judge}; thousandths of Q a move more than the first",
            f"{self.engines[0].name:<{width}}  ({self.engines[0]})",
        ]
        for number, engine in enumerate(self.engines[1:], start=1):
            gain, more = self.gain(number), self.values[:, number] - self.values[:, 0]
            lines.append(
                f"{engine.name:<{width}}  {1000 * gain.mean:+.2f} +- {1000 * gain.error:.2f}, better in "
                f"{(more > 0).sum():,}, worse in {(more < 0).sum():,}  ({engine})"
            )
        return "\n".join(lines)

    def as_json(self) -> list[dict[str, Any]]:
        """All figures by engine."""
        return [
            {
                "name": engine.name,
                "settings": str(engine),
                "positions": len(self.values),
                "gain": self.gain(number).mean,
                "standard_error": self.gain(number).error,
            }
            for number, engine in enumerate(self.engines)
        ]


def regret(run: RegretRun, complain: Callable[[str], None]) -> RegretReport:
    """Search and judge; `complain` gets what the engines say.

    Raises PlayerError, SuiteError, OutputError, WriteError and TEACHER_ERRORS.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    judges = [QuickTeacher(run.judge) for _ in range(os.cpu_count() or 1)]
    with closing(Labels(run.folder / "labels.jsonl", judges)) as labels:
        judges[0].start()
        played = _played(run, complain)
        boards: dict[str, chess.Board] = {}
        for problem, moves in zip(run.problems, played, strict=True):
            if len(set(moves)) > 1:
                boards |= {board.epd(): board for board in (_after(problem.board, move) for move in set(moves))}
        with ThreadPoolExecutor(len(judges)) as pool:
            found = pool.map(lambda board: _value(board, labels), boards.values())
            bar = followed(found, "judged", "moves", len(boards))
            values: Mapping[str, float] = dict(zip(boards, bar, strict=True))
        rows = [
            [values.get(_after(problem.board, move).epd(), 0.0) for move in moves]
            for problem, moves in zip(run.problems, played, strict=True)
        ]
        return RegretReport(run.engines, judges[0].name, np.array(rows, np.float64))


def _played(run: RegretRun, complain: Callable[[str], None]) -> list[list[str]]:
    """The move of every engine in every position; those of an earlier run need no search again.

    Raises OutputError where the folder is of another run.
    """
    path = run.folder / "moves.jsonl"
    judge = f"{' '.join(run.judge.command)} ({run.judge.pace})"
    settings = [judge, *(f"{engine.name}: {' '.join((*engine.command, str(engine)))}" for engine in run.engines)]

    def row(line: Any) -> tuple[str, list[str], list[str]]:
        fen, engines, moves = line
        return str(fen), [str(engine) for engine in engines], [chess.Move.from_uci(move).uci() for move in moves]

    played: list[list[str]] = []
    for fen, engines, moves in whole_lines(path, row):
        if len(played) == len(run.problems) or (fen, engines) != (run.problems[len(played)].board.fen(), settings):
            raise OutputError(f"{path} is of other positions, engines or another judge; choose another folder")
        played.append(moves)
    rest = run.problems[len(played) :]
    with progress_bar("searched", "positions", len(run.problems), len(played)) as bar:
        if not rest:
            return played
        rows = (
            solve_by_engines(rest, run.engines, complain)
            if run.batched is None
            else solve_batched(rest, run.engines, run.batched, complain)
        )
        for problem, solutions in zip(rest, rows, strict=True):
            moves = [str(solution.move) for solution in solutions]
            append(path, (json.dumps([problem.board.fen(), settings, moves]) + "\n").encode(), sync=False)
            played.append(moves)
            bar.update()
    return played


def _after(board: chess.Board, move: str) -> chess.Board:
    after = board.copy(stack=False)
    after.push_uci(move)
    return after


def _value(board: chess.Board, labels: Labels) -> float:
    """Q of a position for the side that has just moved."""
    label = labels.of(board)
    if label is None:
        return 1.0 if board.is_checkmate() else 0.0
    centipawns = label.score.relative.score(mate_score=MOST_CENTIPAWNS)
    clipped = np.clip(np.array([centipawns]), -MOST_CENTIPAWNS, MOST_CENTIPAWNS).astype(np.int16)
    win, _, loss = wdl_of(clipped)[0].tolist()
    return float(loss - win)
