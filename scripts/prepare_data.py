"""Games (PGN, plain or .zst/.bz2/.gz) -> a compact data set for training and for the memory.

    python scripts/prepare_data.py games.pgn.zst more.pgn --out runs/data.safetensors

Games are split by their content into train, memory and held-out, so that the same game always falls on the same
side. Broken games are skipped, counted, and named by file and game number.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing.pool import AsyncResult
from pathlib import Path
from typing import NamedTuple

import numpy as np
from command_line.ending import one_sentence
from command_line.game_files import GameFileError, game_file, name_broken, read_games
from tqdm import tqdm

from dejavu.model.data.dataset import HELD_OUT, MEMORY, TRAIN, Dataset
from dejavu.model.data.games import BrokenGameError, GamePositions, read_game
from dejavu.model.data.records import join

GAMES_A_TASK = 64
TASKS_AHEAD = 8


class Task(NamedTuple):
    """A few games of a file, to be read by a process."""

    source: int
    """Number of the file."""
    first: int
    """Number of the first game, counted from 1."""
    texts: list[str]


Read = list[GamePositions | str]
"""Positions of every game of a task, or why it is broken."""


def _tasks(paths: list[Path]) -> Iterator[Task]:
    for source, path in enumerate(paths):
        games, first = read_games(path), 1
        while texts := list(itertools.islice(games, GAMES_A_TASK)):
            yield Task(source, first, texts)
            first += len(texts)


def _read(task: Task) -> Read:
    games: Read = []
    for text in task.texts:
        try:
            games.append(read_game(text))
        except BrokenGameError as error:
            games.append(str(error))
    return games


def _results(tasks: Iterable[Task], processes: int) -> Iterator[tuple[Task, Read]]:
    """What the tasks come to, in their order.

    Only a few are read ahead, or a large file would fill the RAM; and all of it in this thread, so that nothing is left
    waiting when the script is stopped.
    """
    with multiprocessing.Pool(processes, _leave_signals_to_the_script) as pool:
        waiting: deque[tuple[Task, AsyncResult[Read]]] = deque()
        for task in tasks:
            waiting.append((task, pool.apply_async(_read, (task,))))
            if len(waiting) > TASKS_AHEAD * processes:
                oldest, result = waiting.popleft()
                yield oldest, result.get()
        for oldest, result in waiting:
            yield oldest, result.get()


def _leave_signals_to_the_script() -> None:
    """In a process of the pool, which the script ends when it is stopped itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def split_of(game: GamePositions, memory: float, held_out: float) -> int:
    """Which split a game belongs to: decided by its positions, not by its place in a file."""
    digest = hashlib.blake2b(game.planes.tobytes(), digest_size=8).digest()
    place = int.from_bytes(digest, "little") / 2**64
    if place < held_out:
        return HELD_OUT
    return MEMORY if place < held_out + memory else TRAIN


def collect(
    results: Iterable[tuple[Task, Read]], paths: list[Path], memory: float, held_out: float
) -> tuple[Dataset, list[str]]:
    """Join the games into a data set; the second value names every broken game. Raises GameFileError."""
    games: list[GamePositions] = []
    sources: list[int] = []
    splits: list[int] = []
    broken: list[str] = []
    with tqdm(unit=" positions", unit_scale=True, smoothing=0.05) as progress:
        for task, read in results:
            for number, game in enumerate(read, start=task.first):
                if isinstance(game, str):
                    broken.append(f"broken: {paths[task.source]}, game {number}: {game}")
                elif len(game.planes):
                    games.append(game)
                    sources.append(task.source)
                    splits.append(split_of(game, memory, held_out))
                    progress.update(len(game.planes))
    if not games:
        raise GameFileError("no game with a legal move in " + ", ".join(map(str, paths)))
    return join(games, splits, sources, [path.name for path in paths]), broken


def prepare(paths: list[Path], out: Path, memory: float, held_out: float, processes: int) -> Dataset:
    """Make the data set `out` of game files and tell what came of it; `memory` and `held_out` are shares of games.

    Raises GameFileError, before `out` is touched.
    """
    start = time.monotonic()
    dataset, broken = collect(_results(_tasks(paths), processes), paths, memory, held_out)
    seconds = time.monotonic() - start
    dataset.save(out)

    name_broken(broken)
    shares = np.bincount(dataset.split[dataset.game], minlength=3)
    print(f"{len(dataset):,} positions of {len(dataset.split):,} games, {len(broken):,} broken games skipped")
    print(f"train {shares[TRAIN]:,}, memory {shares[MEMORY]:,}, held-out {shares[HELD_OUT]:,} positions")
    print(f"{seconds:.0f} s, {len(dataset) / seconds:,.0f} positions a second")
    print(f"wrote {out}, {out.stat().st_size / 1e6:.0f} MB")
    return dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("games", nargs="+", type=game_file, help="PGN files, plain or .zst, .bz2, .gz")
    parser.add_argument("--out", type=Path, default=Path("runs/data.safetensors"), help="data set to write")
    parser.add_argument("--memory", type=float, default=0.18, help="share of the games kept for the memory")
    parser.add_argument("--held-out", type=float, default=0.02, help="share of the games kept for evaluation")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with one_sentence("prepare_data", GameFileError, OSError):
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        prepare(arguments.games, arguments.out, arguments.memory, arguments.held_out, arguments.processes)


if __name__ == "__main__":
    main()
