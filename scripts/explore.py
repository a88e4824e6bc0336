"""Find the positions this engine is likeliest to meet after known openings, and let a stronger engine judge them.

    python scripts/explore.py --openings openings.tsv --engine stockfish --nodes 5000 --positions 100000 \\
        --out runs/explored.pgn

A memory pays where it is met. So positions are explored in the order of the chance that a game reaches them: each
opening is as likely as another, and after its end a move is the teacher's choice half of the time, and as likely as the
network finds it for the rest. This chance flows from a position to those after it; the likeliest that is not yet judged
comes next.

The output is PGN in the Lichess convention: a game for every line that was explored to its end, `[%eval x]` after every
move, and the teacher's move as a variation beside a move that is another. `prepare_data.py` and `remember.py` read it.
Judgements are kept beside the output (.judged) as they are made; started again with the same arguments, the script goes
on from there.
"""

from __future__ import annotations

import argparse
import heapq
import os
import sys
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
from annotation.games import to_text
from annotation.judgements import Judgement, Judgements
from annotation.output import OutputError
from annotation.teacher import TEACHER_ERRORS, Teacher, add_teacher_arguments, after_best, teacher_settings
from command_line.arguments import positive, share
from command_line.ending import GOES_ON, one_sentence
from tqdm import tqdm

from dejavu.engine.match.openings import Opening, OpeningError, read_openings
from dejavu.engine.match.players import PlayerError
from dejavu.engine.options import Config
from dejavu.engine.search.evaluator import Evaluator, priors
from dejavu.engine.uci.loader import wanted
from dejavu.model.chess.encoding import Packed, clock_byte, index_to_move, pack, stack
from dejavu.model.inference import NetworkEvaluator
from dejavu.model.weights import WeightsError
from dejavu.retrieval.atomic import atomic_write

BATCH = 256
"""Positions the network judges at once; as many are taken from the front of the queue together."""
LEAST_CHANCE = 0.02
"""Moves that are less likely are not followed."""


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


def explore(
    exploration: Exploration, evaluator: Evaluator, judgements: Judgements, workers: int, positions: int
) -> None:
    """Judge so many positions, the likeliest first."""
    done = 0
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=positions, unit="position", smoothing=0.02, file=sys.stderr) as bar,
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
        judgement = here.judgement if here is not None else None
        if judgement is not None:
            node.set_eval(judgement.score)
        if move is None:
            assert judgement is not None
            node.add_main_variation(judgement.best).set_eval(after_best(judgement.score))
            return game
        following = node.add_main_variation(move)
        if judgement is not None and judgement.best != move:
            node.add_variation(judgement.best).set_eval(after_best(judgement.score))
        node = following
        board.push(move)
    return game


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--openings", type=Path, required=True, help="EPD, PGN, or TSV file (ECO, name, moves)")
    add_teacher_arguments(parser)
    parser.add_argument("--processes", type=positive, default=os.cpu_count() or 1, help="teachers (CPUs)")
    parser.add_argument("--positions", type=positive, default=100_000, help="positions to judge (100000)")
    parser.add_argument("--trust", type=share, default=0.5, help="how often the teacher's move is played (0.5)")
    shipped = wanted(Config())
    parser.add_argument("--weights", type=Path, default=shipped.weights, help="default: the shipped ones")
    parser.add_argument("--out", type=Path, required=True, help="PGN file to write")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(1)
    began = time.monotonic()
    with one_sentence(
        "explore", WeightsError, OpeningError, OutputError, PlayerError, *TEACHER_ERRORS, stopped=GOES_ON
    ):
        openings = read_openings(args.openings)
        settings = teacher_settings(args)
        evaluator = NetworkEvaluator.load(args.weights, None, threads=1)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        teachers = [Teacher(settings) for _ in range(args.processes)]
        judgements = Judgements(args.out.with_name(args.out.name + ".judged"), teachers)
        teachers[0].start()
        exploration = Exploration(args.trust)
        exploration.begin(openings)
        try:
            explore(exploration, evaluator, judgements, args.processes, args.positions)
        finally:
            judgements.close()
        games = write_lines(exploration, teachers[0].name, args.out)
    judged = sum(place.judgement is not None for place in exploration.places.values())
    chance = sum(place.chance for place in exploration.places.values() if place.explored)
    print(f"{judged:,} positions judged in {time.monotonic() - began:.0f} s, {games:,} lines in {args.out}")
    print(f"a game after one of {len(openings):,} openings meets {chance:.1f} of them")


if __name__ == "__main__":
    main()
