"""Learning without training: add games to a memory, or forget them again.

    python scripts/remember.py games.pgn --out runs/mine.safetensors
    python scripts/remember.py more.pgn.zst --memory runs/mine.safetensors
    python scripts/remember.py --list --memory runs/mine.safetensors
    python scripts/remember.py --forget games.pgn --memory runs/mine.safetensors

and then `setoption name MemoryFile value runs/mine.safetensors`. Games are read as by prepare_data.py: a variation
beside a played move names the better move, which is what will be remembered there, and evaluations come from
`[%eval]`; without, a game teaches moves alone. The memory is replaced in one step, and an engine that plays with the
old one goes on undisturbed until the next isready, ucinewgame or setoption.
"""

from __future__ import annotations

import argparse
import datetime
import os
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
from command_line.arguments import game_file
from command_line.exit import one_sentence

from dejavu.engine.options import Config
from dejavu.engine.uci.loader import wanted
from dejavu.model.data.dataset import MEMORY
from dejavu.model.data.game_files import GameFileError, name_broken, read_games
from dejavu.model.data.games import BrokenGameError, GamePositions, read_game
from dejavu.model.data.records import join, positions
from dejavu.model.inference import Embedder, load_backbone
from dejavu.model.weights import WeightsError
from dejavu.retrieval.memory import Memory, MemoryFileError
from dejavu.retrieval.progress import Stages, followed
from dejavu.retrieval.remember import UnknownSourceError, add, forget
from dejavu.retrieval.text import plain


def games_of(path: Path) -> list[GamePositions]:
    """The games of a file; names broken ones on stderr. Raises GameFileError."""
    games, broken = [], []
    for number, text in enumerate(followed(read_games(path), plain(path.name), "games"), start=1):
        try:
            game = read_game(text)
        except BrokenGameError as error:
            broken.append(f"broken: {path}, game {number}: {error}")
            continue
        if len(game):
            games.append(game)
    name_broken(broken)
    return games


def remember_file(
    memory: Memory, path: Path, plies: int | None, keep_known: bool, backbone: Embedder
) -> tuple[Memory, str]:
    """`memory` with the games of a file, and what came of it in a sentence."""
    games = games_of(path)
    if not games:
        return memory, f"{path.name}: no game with a legal move"
    dataset = join(games, [MEMORY] * len(games), [0] * len(games), [path.name])
    ply = np.arange(len(dataset)) - np.searchsorted(dataset.game, dataset.game)
    rows = np.flatnonzero(ply < plies) if plies is not None else np.arange(len(dataset))
    with closing(Stages("positions")) as stages:
        memory, added = add(
            memory,
            positions(dataset, rows),
            [game.name for game in games],
            path.name,
            datetime.date.today().isoformat(),
            backbone.embed_chunks,
            partial(stages, "embed"),
            keep_known,
        )
    return memory, (
        f"{path.name}: {added.entries:,} positions of {len(games):,} games added, {added.known:,} known before, "
        f"{added.replaced:,} older entries replaced"
    )


def show(memory: Memory) -> None:
    """Print what the memory was built from and what was added since."""
    provenance = memory.provenance
    entries = np.bincount(memory.game, minlength=memory.games)
    built = entries.sum() - sum(entries[item.first_game : item.first_game + item.games].sum() for item in memory.added)
    print(f"{built:,} entries, built {plain(provenance.date)} from {plain(provenance.sources)}")
    for item in memory.added:
        count = entries[item.first_game : item.first_game + item.games].sum()
        print(f"{count:,} entries of {item.games:,} games, added {plain(item.date)} from {plain(item.name)}")


def change(arguments: argparse.Namespace, source: Path, out: Path) -> None:
    """Add or forget, and write the result."""
    start = time.monotonic()
    if arguments.forget is not None:
        memory, count = forget(Memory.open(source), arguments.forget)
        done = [f"{count:,} entries forgotten"]
    else:
        backbone = load_backbone(arguments.weights, os.cpu_count() or 1)
        memory = Memory.open(source, backbone.fingerprint)
        done = []
        for path in arguments.games:
            memory, sentence = remember_file(memory, path, arguments.plies, arguments.keep_known, backbone)
            done.append(sentence)
    memory.write(out)
    print("\n".join(done))
    print(f"wrote {out}, {len(memory):,} entries, {time.monotonic() - start:.1f} s")


def main() -> None:
    shipped = wanted(Config())
    assert shipped.memory is not None
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("games", nargs="*", type=game_file, help="PGN files to add, plain or .zst, .bz2, .gz")
    parser.add_argument("--forget", metavar="SOURCE", help="take out the games added from a file of this name")
    parser.add_argument("--list", action="store_true", help="show what the memory was made from")
    parser.add_argument("--memory", type=Path, help="memory to start from (default: the shipped one)")
    parser.add_argument("--weights", type=Path, default=shipped.weights, help="its network (default: the shipped one)")
    parser.add_argument("--out", type=Path, help="memory to write (default: --memory, in its place)")
    parser.add_argument("--keep-known", action="store_true", help="add only positions that are not remembered yet")
    parser.add_argument("--plies", type=int, help="only the first so many positions of a game")
    arguments = parser.parse_args()
    if bool(arguments.games) + (arguments.forget is not None) + arguments.list != 1:
        parser.error("give games to add, or --forget, or --list")
    if not (arguments.out or arguments.memory or arguments.list):
        parser.error("the shipped memory stays as it is: give --out")
    source = arguments.memory or shipped.memory
    with one_sentence(
        "remember",
        MemoryFileError,
        WeightsError,
        UnknownSourceError,
        GameFileError,
        OSError,
        stopped="the memory is as it was",
    ):
        if arguments.list:
            show(Memory.open(source))
        else:
            change(arguments, source, arguments.out or source)


if __name__ == "__main__":
    main()
