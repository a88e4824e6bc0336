"""What teachers say of single positions, kept on the disk as it is said."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import chess
import chess.engine

from dejavu.engine.annotation.output import OutputError
from dejavu.engine.annotation.quick_teacher import QuickTeacher
from dejavu.retrieval.atomic import append


class Label(NamedTuple):
    """What the teacher says of a position."""

    best: chess.Move
    score: chess.engine.PovScore
    line: tuple[chess.Move, ...] = ()
    """How play would go on after the best move."""

    def said_to(self, turn: chess.Color) -> Label:
        """The same for `turn` to move: with the colours exchanged, if it was said of the other side."""
        if self.score.turn == turn:
            return self
        best, *line = map(_mirrored, (self.best, *self.line))
        return Label(best, chess.engine.PovScore(self.score.relative, turn), tuple(line))


def _mirrored(move: chess.Move) -> chess.Move:
    """The move with the colours exchanged."""
    return chess.Move(chess.square_mirror(move.from_square), chess.square_mirror(move.to_square), move.promotion)


T = TypeVar("T")


def whole_lines(path: Path, read: Callable[[Any], T]) -> Iterator[T]:
    """What a file of JSON lines holds; a last one that a kill has cut short is taken off.

    `read` makes of a line's value what is wanted of it, and raises TypeError or ValueError where that is not in it.
    Raises OutputError.
    """
    if not path.exists():
        return
    whole = 0
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                break
            try:
                value = read(json.loads(line))
            except (TypeError, ValueError):
                raise OutputError(f"{path} is damaged after byte {whole}: cut it there or remove it") from None
            yield value
            whole += len(line)
    os.truncate(path, whole)


_Said = tuple[str, "int | None", "int | None"]
"""The best line, centipawns and moves to mate, by the side to move."""


def _labelled(line: Any) -> tuple[str, _Said]:
    """A position and what was said of it."""
    epd, moves, *score = line
    if not _moves(str(moves)):
        raise ValueError("no move")
    centipawns, mate = (None if number is None else int(number) for number in score)
    return str(epd), (str(moves), centipawns, mate)


def _moves(text: str) -> list[chess.Move]:
    return [chess.Move.from_uci(word) for word in text.split()]


class Labels:
    """What the teachers have said, kept in a file, a line a position; a last line cut short by a kill is dropped."""

    def __init__(self, path: Path, teachers: Sequence[QuickTeacher]) -> None:
        """Raises OutputError for a file that is damaged."""
        self._free = list(teachers)
        self._lock = threading.Lock()
        self._known = dict(whole_lines(path, _labelled))
        self._path = path

    def __len__(self) -> int:
        return len(self._known)

    def close(self) -> None:
        for teacher in self._free:
            teacher.close()

    def of(self, board: chess.Board) -> Label | None:
        """The teacher's word on a position; None where the game is over. Raises TEACHER_ERRORS, WriteError."""
        if board.is_game_over():
            return None
        epd = board.epd()
        if epd not in self._known:
            with self._lock:
                teacher = self._free.pop()
            try:
                verdict = teacher.evaluate(board)
            finally:
                with self._lock:
                    self._free.append(teacher)
            if verdict.best is None or verdict.score is None:
                return None
            score = verdict.score.relative
            moves = " ".join(move.uci() for move in (verdict.best, *verdict.line))
            said = (moves, score.score(), score.mate())
            with self._lock:
                # Labels are too many to wait for the disk at each; what a dead machine loses is asked for again.
                append(self._path, (json.dumps([epd, *said]) + "\n").encode(), sync=False)
                self._known[epd] = said
        text, centipawns, mate = self._known[epd]
        score = chess.engine.Mate(mate) if mate is not None else chess.engine.Cp(centipawns or 0)
        best, *line = _moves(text)
        return Label(best, chess.engine.PovScore(score, board.turn), tuple(line))
