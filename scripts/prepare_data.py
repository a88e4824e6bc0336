"""Games (PGN, plain or .zst/.bz2/.gz) -> a compact data set for training and for the memory.

    python scripts/prepare_data.py games.pgn.zst more.pgn --out runs/data.safetensors

Games are split by their content into train, memory and held-out, so that the same game always falls on the same
side. Broken games are skipped, counted, and named by file and game number.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import hashlib
import io
import itertools
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
import zstandard
from tqdm import tqdm

from dejavu.model.training.dataset import HELD_OUT, MEMORY, TRAIN, Dataset
from dejavu.model.training.games import BrokenGameError, GamePositions, read_game, split_games
from dejavu.model.training.records import join

GAMES_A_TASK = 64
TASKS_AHEAD = 8
BROKEN_GAMES_NAMED = 20


def open_games(path: Path) -> TextIO:
    """Open a game file as text, decompressing by its ending."""
    if path.suffix == ".zst":
        reader = zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(path.open("rb"))
        return io.TextIOWrapper(reader, encoding="utf-8", errors="replace")
    if path.suffix == ".bz2":
        return bz2.open(path, "rt", encoding="utf-8", errors="replace")
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", errors="replace")
    return path.open(encoding="utf-8", errors="replace")


def _read_games(texts: list[str]) -> list[GamePositions | str]:
    """Positions of every game, or why it is broken."""
    games: list[GamePositions | str] = []
    for text in texts:
        try:
            games.append(read_game(text))
        except BrokenGameError as error:
            games.append(str(error))
    return games


def _tasks(paths: list[Path], places: threading.Semaphore) -> Iterator[tuple[int, int, list[str]]]:
    """(file number, number of the first game, texts) for a few games at a time, each as soon as a place is free.

    A pool reads its tasks ahead of its workers without end; the places keep a large file from filling the RAM.
    """
    for source, path in enumerate(paths):
        number = 1
        with open_games(path) as lines:
            games = split_games(lines)
            while texts := list(itertools.islice(games, GAMES_A_TASK)):
                places.acquire()
                yield source, number, texts
                number += len(texts)


def _read_task(task: tuple[int, int, list[str]]) -> tuple[int, int, list[GamePositions | str]]:
    source, number, texts = task
    return source, number, _read_games(texts)


def split_of(game: GamePositions, memory: float, held_out: float) -> int:
    """Which split a game belongs to: decided by its positions, not by its place in a file."""
    digest = hashlib.blake2b(game.planes.tobytes(), digest_size=8).digest()
    place = int.from_bytes(digest, "little") / 2**64
    if place < held_out:
        return HELD_OUT
    return MEMORY if place < held_out + memory else TRAIN


def collect(
    results: Iterable[tuple[int, int, list[GamePositions | str]]],
    paths: list[Path],
    places: threading.Semaphore,
    memory: float,
    held_out: float,
) -> tuple[Dataset, list[str]]:
    """Join the games into a data set; the second value names every broken game."""
    games: list[GamePositions] = []
    sources: list[int] = []
    splits: list[int] = []
    broken: list[str] = []
    progress = tqdm(unit=" positions", unit_scale=True, smoothing=0.05)
    for source, first, read in results:
        places.release()
        for number, game in enumerate(read, start=first):
            if isinstance(game, str):
                broken.append(f"{paths[source]}, game {number}: {game}")
            elif len(game.planes):
                games.append(game)
                sources.append(source)
                splits.append(split_of(game, memory, held_out))
                progress.update(len(game.planes))
    progress.close()
    if not games:
        raise SystemExit("prepare_data: no game with a legal move in " + ", ".join(map(str, paths)))
    return join(games, splits, sources, [path.name for path in paths]), broken


def prepare(paths: list[Path], out: Path, memory: float, held_out: float, processes: int) -> Dataset:
    """Make the data set `out` of game files and tell what came of it; `memory` and `held_out` are shares of games."""
    start = time.monotonic()
    with multiprocessing.Pool(processes) as pool:
        places = threading.Semaphore(TASKS_AHEAD * processes)
        results = pool.imap(_read_task, _tasks(paths, places))
        dataset, broken = collect(results, paths, places, memory, held_out)
    seconds = time.monotonic() - start
    dataset.save(out)

    for line in broken[:BROKEN_GAMES_NAMED]:
        print(f"broken: {line}", file=sys.stderr)
    if len(broken) > BROKEN_GAMES_NAMED:
        print(f"broken: and {len(broken) - BROKEN_GAMES_NAMED} more", file=sys.stderr)
    shares = np.bincount(dataset.split[dataset.game], minlength=3)
    print(f"{len(dataset):,} positions of {len(dataset.split):,} games, {len(broken):,} broken games skipped")
    print(f"train {shares[TRAIN]:,}, memory {shares[MEMORY]:,}, held-out {shares[HELD_OUT]:,} positions")
    print(f"{seconds:.0f} s, {len(dataset) / seconds:,.0f} positions a second")
    print(f"wrote {out}, {out.stat().st_size / 1e6:.0f} MB")
    return dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("games", nargs="+", type=Path, help="PGN files, plain or .zst, .bz2, .gz")
    parser.add_argument("--out", type=Path, default=Path("runs/data.safetensors"), help="data set to write")
    parser.add_argument("--memory", type=float, default=0.18, help="share of the games kept for the memory")
    parser.add_argument("--held-out", type=float, default=0.02, help="share of the games kept for evaluation")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    for path in arguments.games:
        if not path.is_file():
            parser.error(f"game file {path} does not exist")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    prepare(arguments.games, arguments.out, arguments.memory, arguments.held_out, arguments.processes)


if __name__ == "__main__":
    main()
