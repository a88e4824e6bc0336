"""The positions that this engine is likeliest to meet after known openings, judged by a stronger engine.

A memory pays where it is met. So positions are explored in the order of the chance that a game reaches them: each
opening is as likely as another, and after its end a move is the teacher's choice half of the time, and as likely as the
network finds it for the rest. This chance flows from a position to those after it; the likeliest that is not yet judged
comes next.
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

from dejavu.engine.annotation.judgements import Judgement, Judgements
from dejavu.engine.annotation.lessons import add_judged, to_text
from dejavu.engine.annotation.teacher import Teacher, TeacherSettings
from dejavu.engine.match.openings import Opening, read_openings
from dejavu.engine.search.evaluator import Evaluator, priors
from dejavu.model.chess.encoding import Packed, clock_byte, index_to_move, pack, stack
from dejavu.model.inference import NetworkEvaluator
from dejavu.retrieval.atomic import atomic_write
from dejavu.retrieval.progress import progress_bar

BATCH = 256
"""Positions the network judges at once; as many are taken from the front of the queue together."""
LEAST_CHANCE = 0.02
"""Moves that are less likely are not followed."""


@dataclass(frozen=True)
class ExploreRun:
    """What is explored; the same run goes on after a kill."""

    openings: Path
    """EPD, PGN, or TSV (ECO, name, moves)."""
    teacher: TeacherSettings
    weights: Path
    """Of the network that says how likely moves are."""
    out: Path
    """PGN file to write."""
    positions: int = 100_000
    """To judge."""
    trust: float = 0.5
    """How often the teacher's move is played."""
    processes: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Teachers."""


@dataclass(frozen=True)
class ExploreReport:
    """What was explored."""

    judged: int
    seconds: float
    lines: int
    openings: int
    met: float
    """How many of the positions a game after one of the openings meets, on average."""
    out: Path

    def __str__(self) -> str:
        return (
            f"{self.judged:,} positions judged in {self.seconds:.0f} s, {self.lines:,} lines in {self.out}\n"
            f"a game after one of {self.openings:,} openings meets {self.met:.1f} of them"
        )


@dataclass
class Place:
    """A position that games may reach."""

    opening: Opening
    moves: tuple[chess.Move, ...]
    """From the opening's start position; the first line that led here."""
    chance: float = 0.0
    """That a game comes here."""
    flowing: float = 0.0
    """That it comes here and its opening has ended."""
    judgement: Judgement | None = None
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
    """All places, and which come next."""

    trust: float
    """Share of a position's chance that goes to the teacher's move."""
    places: dict[Packed, Place] = field(default_factory=dict)
    _queue: list[tuple[float, int, Packed]] = field(default_factory=list)
    """(-chance, a number to break ties by, position); stale ones are passed over."""
    _pushed: int = 0

    def begin(self, openings: Sequence[Opening]) -> None:
        """Every position of every opening is as likely as openings pass through it."""
        for opening in openings:
            for plies in range(len(opening.moves) + 1):
                chance = 1 / len(openings)
                self._add(Place(opening, opening.moves[:plies]), chance, chance * (plies == len(opening.moves)))

    def _add(self, place: Place, chance: float, flowing: float) -> None:
        key = pack(place.board())
        known = self.places.setdefault(key, place)
        if not known.explored:
            known.chance += chance
            known.flowing += flowing
            self._pushed += 1
            heapq.heappush(self._queue, (-known.chance, self._pushed, key))

    def next(self, count: int) -> list[Place]:
        """The likeliest places that were not explored, at most so many; they count as explored from now on."""
        found: list[Place] = []
        while self._queue and len(found) < count:
            chance, _, key = heapq.heappop(self._queue)
            place = self.places[key]
            if not place.explored and place.chance == -chance:
                place.explored = True
                found.append(place)
        return found

    def flow(self, place: Place, moves: Sequence[chess.Move], chances: Sequence[float]) -> None:
        """Let the chance of a judged place flow on over its legal moves, as the network expects them to be played."""
        if place.judgement is None or not place.flowing:
            return
        for move, chance in zip(moves, chances, strict=True):
            chance = (1 - self.trust) * chance + self.trust * (move == place.judgement.best)
            if chance >= LEAST_CHANCE:
                self._add(Place(place.opening, (*place.moves, move)), *[place.flowing * chance] * 2)


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


def judge_likeliest(
    exploration: Exploration, evaluator: Evaluator, judgements: Judgements, workers: int, positions: int
) -> None:
    """Judge so many positions, the likeliest first."""
    done = 0
    with (
        ThreadPoolExecutor(workers) as pool,
        progress_bar("judged", "positions", positions) as bar,
    ):
        while done < positions:
            places = exploration.next(min(BATCH, positions - done))
            if not places:
                break
            boards = [place.board() for place in places]
            found = pool.map(judgements.of, boards)
            replies = expected(evaluator, boards)
            for place, judgement, (moves, chances) in zip(places, found, replies, strict=True):
                place.judgement = judgement
                exploration.flow(place, moves, chances)
                done += 1
                bar.update()


def write_lines(exploration: Exploration, teacher: str, path: Path) -> int:
    """A game for every line from an opening's start to a judged place that no other line passes; -> games."""
    judged = {key: place for key, place in exploration.places.items() if place.judgement is not None}
    for place in judged.values():
        board = chess.Board(place.opening.fen)
        for move in place.moves:
            passed = judged.get(pack(board))
            if passed is not None:
                passed.is_passed = True
            board.push(move)
    games = 0
    with atomic_write(path) as file:
        for place in judged.values():
            if not place.is_passed:
                file.write(to_text(line(place, judged, teacher)).encode())
                games += 1
    return games


def line(place: Place, judged: dict[Packed, Place], teacher: str) -> chess.pgn.Game:
    """The moves to a place, with what the teacher says on the way."""
    game = chess.pgn.Game()
    game.headers.update({"Event": "Exploration", "White": teacher, "Black": teacher, "Result": "*"})
    eco, _, name = place.opening.name.partition(" ")
    game.headers.update({"ECO": eco, "Opening": name})
    if place.opening.fen != chess.STARTING_FEN:
        game.setup(place.opening.fen)
    node: chess.pgn.GameNode = game
    board = game.board()
    for move in (*place.moves, None):
        here = judged.get(pack(board))
        best, score = (None, None) if here is None or here.judgement is None else here.judgement
        node = add_judged(node, best, score, move)
        if move is not None:
            board.push(move)
    return game


def explore(run: ExploreRun) -> ExploreReport:
    """Judge positions, the likeliest first, and write the lines that lead to them.

    Raises OpeningError, WeightsError, OutputError, WriteError and TEACHER_ERRORS.
    """
    torch.set_num_threads(1)
    began = time.monotonic()
    openings = read_openings(run.openings)
    evaluator = NetworkEvaluator.load(run.weights, None, threads=1)
    run.out.parent.mkdir(parents=True, exist_ok=True)
    teachers = [Teacher(run.teacher) for _ in range(run.processes)]
    judgements = Judgements(run.out.with_name(run.out.name + ".judged"), teachers)
    teachers[0].start()
    exploration = Exploration(run.trust)
    exploration.begin(openings)
    try:
        judge_likeliest(exploration, evaluator, judgements, run.processes, run.positions)
    finally:
        judgements.close()
    lines = write_lines(exploration, teachers[0].name, run.out)
    judged = sum(place.judgement is not None for place in exploration.places.values())
    chance = sum(place.chance for place in exploration.places.values() if place.explored)
    return ExploreReport(judged, time.monotonic() - began, lines, len(openings), chance, run.out)
