"""A data set that grows game by game: a folder of small data sets, the shards.

Every game is a file of its own as soon as it is over. Once all games of a block are there, one file takes the place of
theirs, so that thousands of games are some dozen files. Each file is written atomically, and a shard whose games lie
in a block that is there counts no more: whenever the writer is killed, every game is there once or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from dejavu.model.data.dataset import Dataset, DatasetError
from dejavu.retrieval.atomic import remove_abandoned

BLOCK = 64
"""Games a file in the end."""
_NAME = re.compile(r"games-(\d{6})(?:-(\d{6}))?\.safetensors")


def _games(path: Path) -> range | None:
    """The numbers of a shard's games; None for another file."""
    match = _NAME.fullmatch(path.name)
    return None if match is None else range(int(match[1]), int(match[2] or match[1]) + 1)


class Shards:
    """The folder and the games in it, which have numbers from 0 on."""

    def __init__(self, folder: Path) -> None:
        """The folder need not be there yet."""
        self.folder = folder
        found = {path: games for path in folder.glob("games-*.safetensors") if (games := _games(path)) is not None}
        blocks = {games.start: games for games in found.values() if len(games) > 1}
        self._paths: dict[int, Path] = {}
        """First game of each shard -> its file."""
        self.done: set[int] = set()
        for path, games in sorted(found.items()):
            block = blocks.get(games.start // BLOCK * BLOCK)
            if len(games) == 1 and block is not None:
                continue
            self._paths[games.start] = path
            self.done.update(games)

    def add(self, number: int, game: Dataset) -> None:
        """Keep a game. Its block becomes one file if it is the last of it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"games-{number:06d}.safetensors"
        game.save(path)
        self._paths[number] = path
        self.done.add(number)
        first = number // BLOCK * BLOCK
        block = range(first, first + BLOCK)
        if self.done.issuperset(block):
            self._join(block)

    def _join(self, block: range) -> None:
        path = self.folder / f"games-{block[0]:06d}-{block[-1]:06d}.safetensors"
        Dataset.join([Dataset.open(self._paths[number]) for number in block]).save(path)
        for number in block:
            self._paths.pop(number)
        self._paths[block[0]] = path
        self.tidy()

    def tidy(self) -> None:
        """Remove the files of games that a block holds, too, and what a kill left half written."""
        for path in self.folder.glob("games-*.safetensors"):
            if path not in self._paths.values():
                path.unlink()
        remove_abandoned(self.folder, "games-*")

    def paths(self) -> list[Path]:
        """The files, in the order of their games."""
        return [path for _, path in sorted(self._paths.items())]


def open_data(paths: Sequence[Path]) -> Dataset:
    """Data sets joined in the order given; a folder stands for its shards. Raises DatasetError."""
    return Dataset.join([Dataset.open(path) for path in _files(paths)])


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        shards = Shards(path).paths()
        if not shards:
            raise DatasetError(f"the folder {path} holds no games of self-play")
        yield from shards
