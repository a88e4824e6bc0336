"""The positions that this engine's searches look at, labelled by a stronger engine, to train on them.

A search tries moves that nobody plays, and sees what no game holds; there the network is wrong more often than in
games. Positions of training games are searched for a few nodes each, and some of every tree are drawn and labelled.
Or the positions of games themselves are: games whose evaluations are of another scale than the teacher's.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import chess
import chess.pgn
import numpy as np
import torch

from dejavu.engine.annotation.labels import Label, Labels, whole_lines
from dejavu.engine.annotation.lessons import add_labelled, to_text
from dejavu.engine.annotation.quick_teacher import QuickTeacher
from dejavu.engine.annotation.teacher import TeacherSettings
from dejavu.engine.loader import load_network
from dejavu.engine.match.batch import SharedPlayer, play_together
from dejavu.engine.match.pace import Pace
from dejavu.engine.match.players import PlayerSettings
from dejavu.engine.options import SHIPPED
from dejavu.engine.selfplay.visited import VisitingSearch
from dejavu.model.chess.encoding import REPEATED, index_to_move, unpack
from dejavu.model.data.dataset import HELD_OUT, TRAIN, Dataset, DatasetError
from dejavu.retrieval.atomic import append, write_text
from dejavu.retrieval.progress import followed, print_above, progress_bar


@dataclass(frozen=True)
class VisitRun:
    """What is searched and labelled; the same run goes on after a kill."""

    data: Path
    """Data set whose games are searched."""
    teacher: TeacherSettings
    out: Path
    """PGN file to write."""
    sources: Sequence[str] = ("",)
    """Parts of the names of the game files, which have their turns."""
    held_out: bool = False
    """Whether held-out games are searched instead, to judge by."""
    positions: int = 200_000
    """To label."""
    search_nodes: int = 64
    """Of each search."""
    draw: int = 28
    """Positions of each tree; 0: no search, but the positions of the games themselves, with the data set's moves."""
    at_once: int = 64
    """Searches at the same time."""
    seed: int = 1
    weights: str = SHIPPED
    """The option WeightsFile."""
    processes: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Teachers."""


class Position(NamedTuple):
    """A position to be labelled."""

    board: chess.Board
    move: chess.Move | None
    """Taught there instead of the teacher's best."""


@dataclass(frozen=True)
class VisitReport:
    """What was labelled."""

    labelled: int
    seconds: float
    out: Path

    def __str__(self) -> str:
        return f"{self.labelled:,} positions labelled in {self.seconds:.0f} s, in {self.out}"


def roots(dataset: Dataset, run: VisitRun) -> Iterator[int]:
    """Rows of the games to search in random order, of each source in turn; raises DatasetError."""
    split, kind = (HELD_OUT, "held-out") if run.held_out else (TRAIN, "training")
    orders = []
    for source in run.sources:
        rows = dataset.rows(split, source)
        rows = rows[dataset.clocks[rows] < REPEATED]  # a board alone does not say that it is repeated
        if not run.draw:
            rows = rows[~dataset.is_book(rows)]  # the moves are kept, and nobody has thought about a book's
        if not len(rows):
            raise DatasetError(f"the data set has no {kind} positions from '{source}'")
        orders.append(np.random.default_rng(run.seed).permutation(rows).tolist())
    return (row for together in zip(*orders, strict=False) for row in together)


def drawn(line: Any) -> tuple[int, list[str]]:
    """A line of the file of drawn positions: the row that was searched, and what was drawn from its tree, as FEN."""
    row, fens = line
    for fen in fens:
        chess.Board(fen)
    return int(row), fens


def of_games(run: VisitRun) -> list[Position]:
    """As many positions of the games as are wanted, each with the move that the data set holds for the best."""
    dataset = Dataset.open(run.data)
    positions: dict[str, Position] = {}
    with progress_bar("drawn", "positions", run.positions) as bar:
        for row in roots(dataset, run):
            if len(positions) == run.positions:
                break
            board = unpack(dataset.planes[row], int(dataset.clocks[row]))
            positions.setdefault(board.fen(), Position(board, index_to_move(int(dataset.best[row]), board)))
            bar.reach(len(positions))
    return list(positions.values())


def from_trees(run: VisitRun, path: Path) -> list[Position]:
    """Search, and draw positions from the trees until there are enough; those of `path` need no search again."""
    options = {"Threads": "1", "MemoryFile": "", "WeightsFile": run.weights}
    settings = PlayerSettings("visitor", (), Pace(nodes=run.search_nodes), options)
    player = SharedPlayer(settings, print_above, load_network)
    dataset = Dataset.open(run.data)
    known = dict(whole_lines(path, drawn))
    fens: dict[str, None] = {fen: None for found in known.values() for fen in found}
    searches = (
        VisitingSearch(row, unpack(dataset.planes[row], int(dataset.clocks[row])), player, run.draw, run.seed)
        for row in roots(dataset, run)
        if row not in known
    )
    with progress_bar("drawn", "positions", run.positions, len(fens)) as bar:
        finished = play_together(searches, run.at_once)
        while len(fens) < run.positions:
            search = next(finished, None)
            if search is None:
                break
            found = [board.fen() for board in search.found]
            append(path, (json.dumps([search.number, found]) + "\n").encode(), sync=False)
            fens |= dict.fromkeys(found)
            bar.reach(len(fens))
    return [Position(chess.Board(fen), None) for fen in islice(fens, run.positions)]


def as_game(position: Position, label: Label, teacher: str) -> chess.pgn.Game:
    """A game of one move: the position's own, or the teacher's."""
    event = "Visited by searches" if position.move is None else "Evaluated positions of games"
    game = chess.pgn.Game()
    game.headers.update({"Event": event, "White": teacher, "Black": teacher, "Result": "*"})
    game.setup(position.board)
    add_labelled(game, position.move or label.best, label.score, None)
    return game


def visit(run: VisitRun) -> VisitReport:
    """Search, draw, label and write.

    Raises DatasetError, PlayerError, OutputError, WriteError and TEACHER_ERRORS.
    """
    torch.set_num_threads(1)
    began = time.monotonic()
    run.out.parent.mkdir(parents=True, exist_ok=True)
    teachers = [QuickTeacher(run.teacher) for _ in range(run.processes)]
    labels = Labels(run.out.with_name(run.out.name + ".labels"), teachers)
    games: list[str] = []
    try:
        teachers[0].start()
        positions = from_trees(run, run.out.with_name(run.out.name + ".drawn")) if run.draw else of_games(run)
        with ThreadPoolExecutor(run.processes) as pool:
            found = pool.map(labels.of, (position.board for position in positions))
            bar = followed(found, "labelled", "positions", len(positions))
            for position, label in zip(positions, bar, strict=True):
                if label is not None:
                    games.append(to_text(as_game(position, label, teachers[0].name)))
    finally:
        labels.close()
    write_text(run.out, "".join(games))
    return VisitReport(len(games), time.monotonic() - began, run.out)
