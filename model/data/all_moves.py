"""A table of positions with the value of every legal move -> samples.

A text file, plain or compressed, a position a line: `FEN|e2e4 31|d2d4 28|...`, best first, in centipawns for the
mover; mate in n moves is 20000 - 2n, being mated in n 2n - 20000. From it come a policy that the values soften, and the
positions after the moves with their values.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import NamedTuple

import chess
import numpy as np
from numpy.typing import NDArray

from dejavu.model.chess.encoding import clock_byte, move_to_index, pack, stack
from dejavu.model.data.game_files import GameFileError, open_text
from dejavu.model.data.processes import in_processes
from dejavu.retrieval.progress import progress_bar

MOVES = 64
"""Moves of a position that have a share of its policy: the best ones."""
MATE = 20000
MATE_IN_ONE = MATE - 2
_LINES_A_TASK = 250

# A move that is `SPREAD` centipawns worse than the best has 1 / e of its share; more where the best one wins or loses
# by much, since a hundredth of a pawn matters less there.
SPREAD = 20.0
SPREAD_PER_CENTIPAWN = 0.1
_MOST_CENTIPAWNS = 2000.0


@dataclass(frozen=True)
class AllMoves:
    """A positions with a policy, and the C positions after their moves."""

    planes: NDArray[np.uint64]
    """[A, 4]"""
    clocks: NDArray[np.uint8]
    """[A]"""
    moves: NDArray[np.uint16]
    """[A, MOVES] policy indices, best first; 0 with a share of 0 where there are fewer."""
    shares: NDArray[np.float32]
    """[A, MOVES] policy target; each row adds up to 1."""
    centipawns: NDArray[np.int16]
    """[A] value of the best move, for the mover."""
    child_planes: NDArray[np.uint64]
    """[C, 4] without those in which the mover is mated."""
    child_clocks: NDArray[np.uint8]
    """[C]"""
    child_centipawns: NDArray[np.int16]
    """[C] for the side to move there."""


class _Task(NamedTuple):
    """A few lines of the file, to be read by a process."""

    first: int
    """Number of the first, counted from 1."""
    lines: list[str]


def read_all_moves(path: Path, processes: int) -> AllMoves:
    """All positions of the file. Raises GameFileError for a damaged file and for the first broken line."""
    parts: list[AllMoves] = []
    with (
        progress_bar("reading values", "positions") as progress,
        closing(in_processes(partial(_read, path), _tasks(path), processes)) as results,
    ):
        for task, part in results:
            parts.append(part)
            progress.update(len(task.lines))
    if not parts:
        raise GameFileError(f"{path} holds no positions")
    names = [field.name for field in fields(AllMoves)]
    return AllMoves(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _tasks(path: Path) -> Iterator[_Task]:
    first = 1
    with open_text(path) as file:
        while lines := list(itertools.islice(file, _LINES_A_TASK)):
            yield _Task(first, lines)
            first += len(lines)


def _read(path: Path, task: _Task) -> AllMoves:
    count = len(task.lines)
    packed, clocks, children, child_clocks, child_values = [], [], [], [], []
    moves = np.zeros((count, MOVES), np.uint16)
    values = np.full((count, MOVES), -np.inf)
    for row, line in enumerate(task.lines):
        try:
            board, valued = _parse(line.rstrip("\n"))
        except ValueError as error:
            raise GameFileError(f"{path}, line {task.first + row}: {error}") from None
        packed.append(pack(board))
        clocks.append(clock_byte(board.halfmove_clock, False))
        for number, (move, value) in enumerate(valued):
            if number < MOVES:
                moves[row, number], values[row, number] = move_to_index(move, board), value
            if value < MATE_IN_ONE:
                board.push(move)
                children.append(pack(board))
                child_clocks.append(clock_byte(board.halfmove_clock, False))
                child_values.append(-value)
                board.pop()
    return AllMoves(
        planes=stack(packed),
        clocks=np.array(clocks, np.uint8),
        moves=moves,
        shares=softened(values),
        centipawns=values[:, 0].astype(np.int16),
        child_planes=stack(children),
        child_clocks=np.array(child_clocks, np.uint8),
        child_centipawns=np.array(child_values, np.int16),
    )


def _parse(line: str) -> tuple[chess.Board, list[tuple[chess.Move, int]]]:
    """The position of a line, and its moves with their values. Raises ValueError, which says what is wrong."""
    fen, *items = line.split("|")
    board = chess.Board(fen)
    if not board.is_valid():
        raise ValueError(f"{fen!r} is no position of chess")
    valued = []
    for item in items:
        name, _, value = item.partition(" ")
        try:
            valued.append((chess.Move.from_uci(name), int(value)))
        except ValueError:
            raise ValueError(f"{item!r} is not a move and its value") from None
    if not valued or {move for move, _ in valued} != set(board.legal_moves) or len(valued) != board.legal_moves.count():
        raise ValueError(f"its moves are not the legal moves of {fen}")
    values = [value for _, value in valued]
    if values != sorted(values, reverse=True) or max(values[0], -values[-1]) > MATE:
        raise ValueError(f"the values of its moves are not from {MATE} to {-MATE}, the best first")
    return board, valued


def softened(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """[A, M] centipawns of moves, best first, -inf where there is none -> their shares of a policy target."""
    clipped = np.where(np.isfinite(values), np.clip(values, -_MOST_CENTIPAWNS, _MOST_CENTIPAWNS), -np.inf)
    best = clipped[:, :1]
    weights = np.exp((clipped - best) / (SPREAD + SPREAD_PER_CENTIPAWN * np.abs(best)))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
