"""Games of files (PGN, plain or compressed), read by many processes -> a data set."""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dejavu.model.data.dataset import HELD_OUT, MEMORY, TRAIN, Dataset
from dejavu.model.data.game_files import GameFileError, read_games
from dejavu.model.data.games import BrokenGameError, GamePositions, read_game
from dejavu.model.data.processes import in_processes
from dejavu.model.data.records import join
from dejavu.retrieval.progress import progress_bar

GAMES_A_TASK = 64


@dataclass(frozen=True)
class PrepareRun:
    """What a data set is made of."""

    games: Sequence[Path]
    """PGN files, plain or .zst, .bz2, .gz."""
    out: Path
    memory: float = 0.18
    """Share of the games kept for the memory."""
    held_out: float = 0.02
    """Share of the games kept for evaluation."""
    processes: int = field(default_factory=lambda: os.cpu_count() or 1)


@dataclass(frozen=True)
class PrepareReport:
    """What came of it."""

    dataset: Dataset
    broken: list[str]
    """A line for each game left out, naming it and what is wrong."""
    seconds: float
    out: Path

    def __str__(self) -> str:
        dataset = self.dataset
        shares = np.bincount(dataset.split[dataset.game], minlength=3)
        return (
            f"{len(dataset):,} positions of {len(dataset.split):,} games, {len(self.broken):,} broken games skipped\n"
            f"train {shares[TRAIN]:,}, memory {shares[MEMORY]:,}, held-out {shares[HELD_OUT]:,} positions\n"
            f"{self.seconds:.0f} s, {len(dataset) / self.seconds:,.0f} positions a second\n"
            f"wrote {self.out}, {self.out.stat().st_size / 1e6:.0f} MB"
        )


class FileTask(NamedTuple):
    """A few games of a file, to be read by a process."""

    source: int
    """Number of the file."""
    first: int
    """Number of the first game, counted from 1."""
    texts: list[str]


Read = list[GamePositions | str]
"""Positions of every game of a task, or why it is broken."""


def _tasks(paths: Sequence[Path]) -> Iterator[FileTask]:
    for source, path in enumerate(paths):
        games, first = read_games(path), 1
        while texts := list(itertools.islice(games, GAMES_A_TASK)):
            yield FileTask(source, first, texts)
            first += len(texts)


def _read(task: FileTask) -> Read:
    games: Read = []
    for text in task.texts:
        try:
            games.append(read_game(text))
        except BrokenGameError as error:
            games.append(str(error))
    return games


def split_of(game: GamePositions, memory: float, held_out: float) -> int:
    """Which split a game belongs to: decided by its positions, not by its place in a file."""
    digest = hashlib.blake2b(game.planes.tobytes(), digest_size=8).digest()
    share = int.from_bytes(digest, "little") / 2**64
    if share < held_out:
        return HELD_OUT
    return MEMORY if share < held_out + memory else TRAIN


def collect(results: Iterable[tuple[FileTask, Read]], run: PrepareRun) -> tuple[Dataset, list[str]]:
    """Join the games into a data set; the second value names every broken game. Raises GameFileError."""
    games: list[GamePositions] = []
    sources: list[int] = []
    splits: list[int] = []
    broken: list[str] = []
    with progress_bar("reading games", "positions") as progress:
        for task, read in results:
            for number, game in enumerate(read, start=task.first):
                if isinstance(game, str):
                    broken.append(f"broken: {run.games[task.source]}, game {number}: {game}")
                elif len(game):
                    games.append(game)
                    sources.append(task.source)
                    splits.append(split_of(game, run.memory, run.held_out))
                    progress.update(len(game))
    if not games:
        raise GameFileError("no game with a legal move in " + ", ".join(map(str, run.games)))
    return join(games, splits, sources, [path.name for path in run.games]), broken


def prepare(run: PrepareRun) -> PrepareReport:
    """Make the data set. Raises GameFileError, before the file is touched, and WriteError."""
    start = time.monotonic()
    run.out.parent.mkdir(parents=True, exist_ok=True)
    with closing(in_processes(_read, _tasks(run.games), run.processes)) as results:
        dataset, broken = collect(results, run)
    seconds = time.monotonic() - start
    dataset.save(run.out)
    return PrepareReport(dataset, broken, seconds, run.out)
