"""The positions that this engine is likeliest to meet after known openings, labelled by a stronger engine.

A memory pays where it is met. So positions are explored in the order of the chance that a game reaches them: each
opening is as likely as another, and after its end a move is the teacher's choice half of the time, and as likely as the
network finds it for the rest. This chance flows from a position to those after it; the likeliest without a label comes
next.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import chess
import chess.engine
import chess.pgn
import numpy as np
import torch

from dejavu.engine.annotation.labels import Label, Labels
from dejavu.engine.annotation.lessons import add_labelled, to_text
from dejavu.engine.annotation.quick_teacher import QuickTeacher
from dejavu.engine.annotation.teacher import TeacherSettings
from dejavu.engine.match.openings import Opening
from dejavu.engine.search.evaluator import Evaluator, priors
from dejavu.model.chess.encoding import Packed, clock_byte, index_to_move, pack, stack
from dejavu.model.inference import NetworkEvaluator
from dejavu.retrieval.atomic import atomic_write
from dejavu.retrieval.moves import CONTINUATION_PLIES
from dejavu.retrieval.progress import progress_bar

BATCH = 256
"""Positions the network evaluates at once; as many are taken from the front of the queue together."""
LEAST_CHANCE = 0.02
"""Moves that are less likely are not followed."""


@dataclass(frozen=True)
class ExploreRun:
    """What is explored; the same run goes on after a kill."""

    openings: Sequence[Opening]
    teacher: TeacherSettings
    weights: Path
    """Of the network that says how likely moves are."""
    out: Path
    """PGN file to write."""
    positions: int = 100_000
    """To label."""
    trust: float = 0.5
    """How often the teacher's move is played."""
    processes: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Teachers."""


@dataclass(frozen=True)
class ExploreReport:
    """What was explored."""

    labelled: int
    seconds: float
    lines: int
    openings: int
    met: float
    """How many of the positions a game after one of the openings meets, on average."""
    out: Path

    def __str__(self) -> str:
        return (
            f"{self.labelled:,} positions labelled in {self.seconds:.0f} s, {self.lines:,} lines in {self.out}\n"
            f"a game after one of {self.openings:,} openings meets {self.met:.1f} of them"
        )


@dataclass
class Candidate:
    """A position that games may reach."""

    opening: Opening
    moves: tuple[chess.Move, ...]
    """From the opening's start position; the first line that led here."""
    chance: float = 0.0
    """That a game comes here."""
    flowing: float = 0.0
    """That it comes here and its opening has ended."""
    label: Label | None = None
    explored: bool = False
    """Whether its chance has flowed on."""
    is_passed: bool = False
    """Whether a line goes on from here, so that none ends here."""

    def board(self) -> chess.Board:
        board = chess.Board(self.opening.fen)
        for move in self.moves:
            board.push(move)
        return board


@dataclass
class Exploration:
    """All candidates, and which come next."""

    trust: float
    """Share of a position's chance that goes to the teacher's move."""
    candidates: dict[Packed, Candidate] = field(default_factory=dict)
    _queue: list[tuple[float, int, Packed]] = field(default_factory=list)
    """(-chance, a number to break ties by, position); stale ones are passed over."""
    _pushed: int = 0

    def begin(self, openings: Sequence[Opening]) -> None:
        """Every position of every opening is as likely as openings pass through it."""
        for opening in openings:
            for plies in range(len(opening.moves) + 1):
                chance = 1 / len(openings)
                self._add(Candidate(opening, opening.moves[:plies]), chance, chance * (plies == len(opening.moves)))

    def _add(self, candidate: Candidate, chance: float, flowing: float) -> None:
        key = pack(candidate.board())
        known = self.candidates.setdefault(key, candidate)
        if not known.explored:
            known.chance += chance
            known.flowing += flowing
            self._pushed += 1
            heapq.heappush(self._queue, (-known.chance, self._pushed, key))

    def next(self, count: int) -> list[Candidate]:
        """The likeliest candidates that were not explored, at most so many; they count as explored from now on."""
        found: list[Candidate] = []
        while self._queue and len(found) < count:
            chance, _, key = heapq.heappop(self._queue)
            candidate = self.candidates[key]
            if not candidate.explored and candidate.chance == -chance:
                candidate.explored = True
                found.append(candidate)
        return found

    def flow(self, candidate: Candidate, moves: Sequence[chess.Move], chances: Sequence[float]) -> None:
        """Let the chance of a labelled candidate flow on over its legal moves, as the network expects them."""
        if candidate.label is None or not candidate.flowing:
            return
        for move, chance in zip(moves, chances, strict=True):
            chance = (1 - self.trust) * chance + self.trust * (move == candidate.label.best)
            if chance >= LEAST_CHANCE:
                self._add(Candidate(candidate.opening, (*candidate.moves, move)), *[candidate.flowing * chance] * 2)


def expected(evaluator: Evaluator, boards: Sequence[chess.Board]) -> list[tuple[list[chess.Move], list[float]]]:
    """The legal moves of each position and how likely the network thinks they are, the likeliest first."""
    planes = stack([pack(board) for board in boards])
    clocks = np.array([clock_byte(board.halfmove_clock, False) for board in boards], np.uint8)
    answer = evaluator.evaluate(planes, clocks)
    indices, chances = priors(answer, 1.0)
    parts = [slice(*answer.offsets[b : b + 2]) for b in range(len(boards))]
    return [
        ([index_to_move(int(index), board) for index in indices[part]], chances[part].tolist())
        for board, part in zip(boards, parts, strict=True)
    ]


def label_likeliest(
    exploration: Exploration, evaluator: Evaluator, labels: Labels, workers: int, positions: int
) -> None:
    """Label so many positions, the likeliest first."""
    done = 0
    with (
        ThreadPoolExecutor(workers) as pool,
        progress_bar("labelled", "positions", positions) as bar,
    ):
        while done < positions:
            candidates = exploration.next(min(BATCH, positions - done))
            if not candidates:
                break
            boards = [candidate.board() for candidate in candidates]
            found = pool.map(labels.of, boards)
            replies = expected(evaluator, boards)
            for candidate, label, (moves, chances) in zip(candidates, found, replies, strict=True):
                candidate.label = label
                exploration.flow(candidate, moves, chances)
                done += 1
                bar.update()


def write_lines(exploration: Exploration, engine: str, pace: str, path: Path) -> int:
    """A game for every line from an opening's start to a labelled candidate that no other line passes; -> games."""
    labelled = {key: candidate for key, candidate in exploration.candidates.items() if candidate.label is not None}
    for candidate in labelled.values():
        board = chess.Board(candidate.opening.fen)
        for move in candidate.moves:
            passed = labelled.get(pack(board))
            if passed is not None:
                passed.is_passed = True
            board.push(move)
    games = 0
    with atomic_write(path) as file:
        for candidate in labelled.values():
            if not candidate.is_passed:
                file.write(to_text(line(candidate, labelled, engine, pace)).encode())
                games += 1
    return games


def line(candidate: Candidate, labelled: dict[Packed, Candidate], engine: str, pace: str) -> chess.pgn.Game:
    """The moves to a candidate, with what the teacher says on the way."""
    game = chess.pgn.Game()
    game.headers.update({"Event": pace, "White": engine, "Black": engine, "Result": "*"})
    eco, _, name = candidate.opening.name.partition(" ")
    game.headers.update({"ECO": eco, "Opening": name})
    if candidate.opening.fen != chess.STARTING_FEN:
        game.setup(candidate.opening.fen)
    node: chess.pgn.GameNode = game
    board = game.board()
    for move in (*candidate.moves, None):
        here = labelled.get(pack(board))
        if here is None or here.label is None:
            node = add_labelled(node, None, None, move)
        else:
            label = here.label.said_to(board.turn)  # the line may come here with the colours exchanged
            node = add_labelled(node, label.best, label.score, move, label.line)
        if move is not None:
            board.push(move)
    return game


def explore(run: ExploreRun) -> ExploreReport:
    """Label positions, the likeliest first, and write the lines that lead to them.

    Raises WeightsError, OutputError, WriteError and TEACHER_ERRORS.
    """
    torch.set_num_threads(1)
    began = time.monotonic()
    evaluator = NetworkEvaluator.load(run.weights, None, threads=1)
    run.out.parent.mkdir(parents=True, exist_ok=True)
    teachers = [QuickTeacher(run.teacher, CONTINUATION_PLIES) for _ in range(run.processes)]
    labels = Labels(run.out.with_name(run.out.name + ".labels"), teachers)
    teachers[0].start()
    exploration = Exploration(run.trust)
    exploration.begin(run.openings)
    try:
        label_likeliest(exploration, evaluator, labels, run.processes, run.positions)
    finally:
        labels.close()
    lines = write_lines(exploration, teachers[0].engine, run.teacher.pace, run.out)
    labelled = sum(candidate.label is not None for candidate in exploration.candidates.values())
    chance = sum(candidate.chance for candidate in exploration.candidates.values() if candidate.explored)
    return ExploreReport(labelled, time.monotonic() - began, lines, len(run.openings), chance, run.out)
