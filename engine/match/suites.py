"""Positions whose best moves are known: of EPD files with bm or am, or of held-out games."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import chess
import chess.engine
import numpy as np

from dejavu.model.chess.encoding import REPEATED, index_to_move, unpack
from dejavu.model.data.dataset import HELD_OUT, Dataset
from dejavu.retrieval.text import plain

UNPLAYABLE = (
    chess.STATUS_NO_WHITE_KING
    | chess.STATUS_NO_BLACK_KING
    | chess.STATUS_TOO_MANY_KINGS
    | chess.STATUS_PAWNS_ON_BACKRANK
    | chess.STATUS_OPPOSITE_CHECK
)
"""An engine refuses such positions, or worse. Other oddities, such as castling rights without a rook, are harmless."""


class SuiteError(ValueError):
    """Positions that cannot be used; the message is one sentence."""


@dataclass(frozen=True)
class Problem:
    """A position and the moves to find, any of which counts, or else to avoid."""

    name: str
    board: chess.Board
    wanted: tuple[chess.Move, ...]
    """One of these is to be played; none: any that is not unwanted."""
    unwanted: tuple[chess.Move, ...] = ()
    mate_in: int | None = None
    """Moves to mate, where the suite says so."""

    def task(self) -> str:
        """What was to be played, for people."""
        parts = [" or ".join(map(self.board.san, self.wanted))] if self.wanted else []
        parts += [f"not {self.board.san(move)}" for move in self.unwanted]
        return ", ".join(parts) + (f" (mate in {self.mate_in})" if self.mate_in else "")


@dataclass(frozen=True)
class Solution:
    """What an engine played, and what it thought of it."""

    problem: Problem
    move: chess.Move | None
    nodes: int
    score: str
    """From the side to move: pawns, or moves to mate as in #+3."""

    @property
    def solved(self) -> bool:
        """Whether the move is one to find, or none to avoid."""
        if self.move is None or self.move in self.problem.unwanted:
            return False
        return not self.problem.wanted or self.move in self.problem.wanted

    def played(self) -> str:
        """The move, for people."""
        return self.problem.board.san(self.move) if self.move else "no move"


def score_text(score: chess.engine.Score | None) -> str:
    """A score from the side to move, for people; empty if there is none."""
    if score is None:
        return ""
    centipawns = score.score()
    return str(score) if centipawns is None else f"{centipawns / 100:+.2f}"


def read_problem(line: str, name: str) -> Problem:
    """Read a line of an EPD file; `name` is for one without an id. ValueError says what is wrong."""
    board, operations = chess.Board.from_epd(line)
    find, avoid, mate_in = (operations.get(opcode) for opcode in ("bm", "am", "dm"))
    wanted, unwanted = (tuple(moves) if isinstance(moves, list) else () for moves in (find, avoid))
    if not wanted and not unwanted:
        raise ValueError("neither bm nor am names a move")
    if mate_in is not None and (not isinstance(mate_in, int) or mate_in < 1):
        raise ValueError(f"dm is {mate_in}, not a number of moves")
    if board.status() & UNPLAYABLE:
        raise ValueError("such a position cannot be played")
    return Problem(plain(str(operations.get("id") or name)), board, wanted, unwanted, mate_in)


def read_suite(path: Path) -> tuple[list[Problem], list[str]]:
    """Read an EPD file: its positions, and a sentence for each line that is wrong."""
    problems, complaints = [], []
    # Old suites have names in old encodings. The positions are ASCII in all of them.
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            problems.append(read_problem(line, f"line {number}"))
        except ValueError as error:
            complaints.append(f"{path}, line {number}: {plain(str(error))}")
    return problems, complaints


def held_out_problems(path: Path, source: str | None, positions: int, seed: int) -> list[Problem]:
    """Random held-out positions of a data set with a choice of moves; raises DatasetError and SuiteError."""
    dataset = Dataset.open(path)
    rows = dataset.rows(HELD_OUT, source)
    # A board alone does not say that it is repeated.
    rows = rows[dataset.clocks[rows] < REPEATED]
    if not len(rows):
        raise SuiteError(f"{path} holds no held-out positions" + (f" from {source}" if source else ""))
    problems: list[Problem] = []
    for row in np.random.default_rng(seed).permutation(rows).tolist():
        if len(problems) == positions:
            break
        board = unpack(dataset.planes[row], int(dataset.clocks[row]))
        if board.legal_moves.count() > 1:
            best = index_to_move(int(dataset.best[row]), board)
            problems.append(Problem(f"position {row}", board, (best,)))
    return problems
