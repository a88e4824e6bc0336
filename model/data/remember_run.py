"""Adding games to a memory, and telling what was added: learning without training."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dejavu.model.data.dataset import MEMORY, Dataset
from dejavu.model.data.game_files import name_broken, read_games
from dejavu.model.data.games import BrokenGameError, GamePositions, read_game
from dejavu.model.data.records import join, positions
from dejavu.model.data.repertoire import first_met, lines_of
from dejavu.model.inference import Embedder
from dejavu.retrieval.memory import Memory
from dejavu.retrieval.moves import NO_MOVE
from dejavu.retrieval.positions import Positions
from dejavu.retrieval.progress import Stages, followed
from dejavu.retrieval.remember import add, unknown_to
from dejavu.retrieval.text import plain


def games_of(path: Path, every_line: bool = False) -> list[GamePositions]:
    """The games of a file, or `every_line` of them as a game; names broken ones on stderr. Raises GameFileError."""
    games, broken = [], []
    for number, text in enumerate(followed(read_games(path), plain(path.name), "games"), start=1):
        try:
            read = [read_game(line) for line in (lines_of(text) if every_line else [text])]
        except BrokenGameError as error:
            broken.append(f"broken: {path}, game {number}: {error}")
            continue
        games += [game for game in read if len(game)]
    name_broken(broken)
    return games


class Wishes(NamedTuple):
    """How games are to be remembered."""

    plies: int | None = None
    """Only the first so many positions of a game."""
    lessons: bool = False
    """Each move by itself, without how the game went on: the network plays such a move, where it takes a whole game for
    an example (docs/memory.md)."""
    repertoire: bool = False
    """Lessons of every variation, where a variation otherwise names a better move than the one played."""
    keep_known: bool = False
    """Only positions that are not remembered yet."""
    beside: Memory | None = None
    """With `keep_known`, what is remembered in this memory is known, too."""


def remember_file(memory: Memory, path: Path, wishes: Wishes, backbone: Embedder) -> tuple[Memory, str]:
    """`memory` with the games of a file, and what came of it in a sentence."""
    games = games_of(path, wishes.repertoire)
    if not games:
        return memory, f"{path.name}: no game with a legal move"
    dataset = join(games, [MEMORY] * len(games), [0] * len(games), [path.name])
    ply = np.arange(len(dataset)) - np.searchsorted(dataset.game, dataset.game)
    rows = first_met(dataset) if wishes.repertoire else np.arange(len(dataset))
    if wishes.plies is not None:
        rows = rows[ply[rows] < wishes.plies]
    new = positions(dataset, rows)
    keep_lines(new, rows, dataset, games)
    lessons = wishes.lessons or wishes.repertoire
    if lessons:
        new.continuations[:, 1:] = NO_MOVE
    left_out = 0
    if wishes.keep_known and wishes.beside is not None:
        unknown = unknown_to(wishes.beside, new)
        left_out, new = len(new) - len(unknown), unknown
    with closing(Stages("positions")) as stages:
        memory, added = add(
            memory,
            new,
            [game.name for game in games],
            path.name,
            datetime.date.today().isoformat(),
            backbone.embed_chunks,
            partial(stages, "embed"),
            wishes.keep_known,
            lessons,
        )
    known, of = added.known + left_out, "lines" if wishes.repertoire else "games"
    return memory, (
        f"{path.name}: {added.entries:,} positions of {len(games):,} {of} added, {known:,} known before, "
        f"{added.replaced:,} older entries replaced, {added.evaluated:,} evaluated anew"
    )


def keep_lines(new: Positions, rows: NDArray[np.int64], dataset: Dataset, games: Sequence[GamePositions]) -> None:
    """Let `new`, the `rows` of a data set of games, go on with the lines that stand beside the moves played."""
    for game, start in zip(games, np.searchsorted(dataset.game, np.arange(len(games))).tolist(), strict=True):
        for ply, line in game.lines.items():
            at = int(np.searchsorted(rows, start + ply))
            if at < len(rows) and rows[at] == start + ply:
                new.continuations[at] = NO_MOVE
                new.continuations[at, : len(line)] = line


def told(memory: Memory) -> list[str]:
    """A line for what the memory was built from, and one for each file that was added since."""
    provenance = memory.provenance
    entries = np.bincount(memory.game, minlength=memory.games)
    built = entries.sum() - sum(entries[item.first_game : item.first_game + item.games].sum() for item in memory.added)
    lines = [f"{built:,} entries, built {plain(provenance.date)} from {plain(provenance.sources)}"] if built else []
    for item in memory.added:
        count = entries[item.first_game : item.first_game + item.games].sum()
        lines.append(f"{count:,} entries of {item.games:,} games, added {plain(item.date)} from {plain(item.name)}")
    return lines
