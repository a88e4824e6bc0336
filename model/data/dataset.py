"""The data set: every position of many games, packed, with what was best there and how it stood.

One safetensors file, memory-mapped. N positions, game by game in playing order; G games. Where a search of ours
evaluated a position, as in self-play, it is known how often each move was visited and what the root was worth.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dejavu.model.chess.structure import balance
from dejavu.model.data.columns import NO_EVALUATION, NO_RESULT, Columns, join_columns
from dejavu.retrieval.atomic import atomic_write
from dejavu.retrieval.moves import POLICY_SIZE

FORMAT = "dejavu-dataset-2"
TRAIN, MEMORY, HELD_OUT = 0, 1, 2
SPLITS = {"train": TRAIN, "memory": MEMORY, "held-out": HELD_OUT}

Layout = Mapping[str, tuple[type[np.generic], str]]
"""tensor -> (dtype, dimensions; a letter stands for the same number everywhere)"""

_LAYOUT: Layout = {
    "planes": (np.uint64, "N 4"),
    "clocks": (np.uint8, "N"),
    "best": (np.uint16, "N"),
    "played": (np.uint16, "N"),
    "centipawns": (np.int16, "N"),
    "result": (np.int8, "N"),
    "game": (np.int32, "N"),
    "split": (np.uint8, "G"),
    "source": (np.uint8, "G"),
    "names": (np.uint8, "t"),
    "name_offsets": (np.int64, "G+1"),
    "source_names": (np.uint8, "u"),
    "searches.rows": (np.int64, "S"),
    "searches.wdl": (np.float32, "S 3"),
    "searches.offsets": (np.int64, "S+1"),
    "searches.moves": (np.uint16, "V"),
    "searches.visits": (np.uint32, "V"),
}

MAX_SOURCES = 256

# WDL from centipawns: a pawn ahead is an even chance to win between engines (Stockfish's normalisation), and
# this many centipawns more or less take the logit by one. Wide, since the labels come from short searches.
EVEN_WIN_CENTIPAWNS = 100.0
CENTIPAWNS_PER_LOGIT = 45.0

PLAIN_Q = 0.98
PLAIN_BALANCE = 3
"""Pawns ahead. Of such positions a net knows nearly all: 45 % of the positions of the teacher's games and 30 % of those
that searches see have 7 and 3 % of its value loss."""


def wdl_of(centipawns: NDArray[np.int16]) -> NDArray[np.float32]:
    """[B] evaluations -> [B, 3] win, draw, loss from the same side."""
    pawns = centipawns.astype(np.float32)
    win = _sigmoid((pawns - EVEN_WIN_CENTIPAWNS) / CENTIPAWNS_PER_LOGIT)
    loss = _sigmoid((-pawns - EVEN_WIN_CENTIPAWNS) / CENTIPAWNS_PER_LOGIT)
    return np.stack([win, np.maximum(1 - win - loss, 0), loss], axis=1).astype(np.float32)


class DatasetError(ValueError):
    """A data set that cannot be used; the message is one sentence naming the file and what is wrong."""


@dataclass(frozen=True)
class Searches:
    """What searches found in S of N positions, and the V moves they visited, one position's after the other's."""

    rows: NDArray[np.int64]
    """[S] which positions, ascending."""
    wdl: NDArray[np.float32]
    """[S, 3] win, draw, loss at the root, from the side to move."""
    offsets: NDArray[np.int64]
    """[S + 1] where each position's moves begin."""
    moves: NDArray[np.uint16]
    """[V] policy indices."""
    visits: NDArray[np.uint32]
    """[V] at least 1."""

    @classmethod
    def none(cls) -> Searches:
        """Of positions that nothing has searched."""
        return cls(
            np.empty(0, np.int64),
            np.empty((0, 3), np.float32),
            np.zeros(1, np.int64),
            np.empty(0, np.uint16),
            np.empty(0, np.uint32),
        )

    @classmethod
    def join(cls, parts: Sequence[Searches], sizes: Sequence[int]) -> Searches:
        """The searches of data that is joined from parts of so many positions."""
        firsts = np.cumsum([0, *sizes])
        counts = np.concatenate([np.zeros(1, np.int64), *(np.diff(part.offsets) for part in parts)])
        return cls(
            np.concatenate([part.rows + first for part, first in zip(parts, firsts, strict=False)]),
            np.concatenate([part.wdl for part in parts]),
            np.cumsum(counts),
            np.concatenate([part.moves for part in parts]),
            np.concatenate([part.visits for part in parts]),
        )

    def find(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of `rows` [B] have been searched: their indices in `rows`, and those of their searches."""
        if not len(self.rows):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        found = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        indices = np.flatnonzero(self.rows[found] == rows)
        return indices, found[indices]

    def visit_shares(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.float32]]:
        """The visited moves of `rows` [B]: index in `rows`, policy index, share of the position's visits; [K] each."""
        indices, found = self.find(rows)
        counts = self.offsets[found + 1] - self.offsets[found]
        starts = np.cumsum(counts) - counts
        taken = np.repeat(self.offsets[found] - starts, counts) + np.arange(counts.sum())
        visits = self.visits[taken].astype(np.float32)
        totals = np.add.reduceat(visits, starts) if len(starts) else visits
        return np.repeat(indices, counts), self.moves[taken], visits / np.repeat(totals, counts)


@dataclass(frozen=True)
class Dataset(Columns):
    """Arrays of a data set, N positions of G games."""

    game: NDArray[np.int32]
    """[N] ascending."""
    split: NDArray[np.uint8]
    """[G] TRAIN, MEMORY or HELD_OUT."""
    source: NDArray[np.uint8]
    """[G] index into the file names below."""
    names: NDArray[np.uint8]
    """UTF-8 text: a line a game, "White - Black, Event, Year, Opening"."""
    name_offsets: NDArray[np.int64]
    """[G + 1] where each game's line starts."""
    source_names: NDArray[np.uint8]
    """UTF-8 text: a line a game file."""
    searches: Searches = field(default_factory=Searches.none)
    """Of any positions."""

    @property
    def sources(self) -> list[str]:
        """Names of the game files, in the order that `source` counts them."""
        return self.source_names.tobytes().decode().splitlines()

    def game_name(self, game: int) -> str:
        """One line that names a game to a person."""
        start, end = self.name_offsets[game], self.name_offsets[game + 1]
        return self.names[start:end].tobytes().decode().rstrip("\n")

    def rows(self, split: int, source: str | None = None) -> NDArray[np.int64]:
        """Positions of one split, of one game file where `source` is part of its name."""
        games = self.split == split
        if source is not None:
            games &= np.isin(self.source, [i for i, name in enumerate(self.sources) if source in name])
        return np.flatnonzero(games[self.game])

    def rows_to_learn(self, splits: Collection[int], source: str | None = None) -> NDArray[np.int64]:
        """Positions of some splits as `rows` has them, without those that are out of a book."""
        rows = np.sort(np.concatenate([self.rows(split, source) for split in splits]))
        return rows[~self.is_book(rows)]

    def is_book(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[B] whether nobody has thought about the position, though its game has evaluations.

        The move played from there says little, and how the game ended less.
        """
        evaluated = self.centipawns != NO_EVALUATION
        games = np.zeros(len(self.split), bool)
        games[self.game[evaluated]] = True
        return games[self.game[rows]] & ~self.is_evaluated(rows)

    def is_plain(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[B] whether the men on the board tell who wins: the side that the evaluation says is well ahead in them."""
        wdl = self.evaluated_wdl(rows)
        q = wdl[:, 0] - wdl[:, 2]
        plain: NDArray[np.bool_] = (np.abs(q) > PLAIN_Q) & (np.sign(q) * balance(self.planes[rows]) >= PLAIN_BALANCE)
        return plain

    def is_evaluated(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[B] whether a search of ours or an evaluation tells how the position stands."""
        known: NDArray[np.bool_] = self.centipawns[rows] != NO_EVALUATION
        known[self.searches.find(rows)[0]] = True
        return known

    def evaluated_wdl(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """[B, 3] win, draw, loss from the side to move: from our search, else the evaluation, else a third each."""
        wdl = wdl_of(self.centipawns[rows])
        indices, found = self.searches.find(rows)
        wdl[indices] = self.searches.wdl[found]
        wdl[~self.is_evaluated(rows)] = 1 / 3
        return wdl

    def wdl_target(self, rows: NDArray[np.int64], result_weight: float = 0.0) -> NDArray[np.float32]:
        """[B, 3] win, draw, loss from the side to move: from our search, the evaluation, the result, or a third each.

        The first of these that is known decides. Where the result is known beside another, it has `result_weight` of
        the target.
        """
        wdl = self.evaluated_wdl(rows)
        result = self.result[rows]
        finished = result != NO_RESULT
        known = np.eye(3, dtype=np.float32)[1 - np.where(finished, result, 0)]
        weight = finished * np.where(self.is_evaluated(rows), result_weight, 1)
        target: NDArray[np.float32] = (wdl + weight[:, None] * (known - wdl)).astype(np.float32)
        return target

    def save(self, path: Path) -> None:
        """Write the file, atomically. Raises WriteError."""
        tensors = _tensors(self) | {f"searches.{name}": value for name, value in _tensors(self.searches).items()}
        with atomic_write(path) as file:
            save_file(tensors, file.name, {"format": FORMAT})

    @classmethod
    def open(cls, path: Path) -> Dataset:
        """Read the file and check it: dtypes, shapes, ranges of every index.

        Raises DatasetError if the file is missing, truncated, not a data set, or does not fit together.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                if (file.metadata() or {}).get("format") != FORMAT:
                    raise DatasetError(f"{path} is not a Dejavu data set")
                tensors = {name: file.get_tensor(name) for name in _LAYOUT}
        except FileNotFoundError:
            raise DatasetError(f"data set {path} does not exist") from None
        except (OSError, SafetensorError) as error:
            raise DatasetError(f"data set {path} cannot be read: {error}") from None
        _check(path, tensors)
        searches = Searches(**{name: tensors[f"searches.{name}"] for name in _names(Searches)})
        return cls(searches=searches, **{name: tensors[name] for name in _names(cls)})

    @classmethod
    def join(cls, parts: Sequence[Dataset]) -> Dataset:
        """One data set of several, whose games are numbered on. Raises DatasetError for too many game files."""
        if len(parts) == 1:
            return parts[0]
        sources = list(dict.fromkeys(name for part in parts for name in part.sources))
        if len(sources) > MAX_SOURCES:
            raise DatasetError(f"a data set has at most {MAX_SOURCES} game files, not {len(sources)}")
        first_games = np.cumsum([0, *(len(part.split) for part in parts)])
        first_names = np.cumsum([0, *(len(part.names) for part in parts)])
        return cls(
            game=np.concatenate(
                [(part.game + first).astype(np.int32) for part, first in zip(parts, first_games, strict=False)]
            ),
            source=np.concatenate(
                [np.array([sources.index(name) for name in part.sources], np.uint8)[part.source] for part in parts]
            ),
            name_offsets=np.concatenate(
                [np.zeros(1, np.int64)]
                + [part.name_offsets[1:] + first for part, first in zip(parts, first_names, strict=False)]
            ),
            source_names=np.frombuffer("".join(f"{name}\n" for name in sources).encode(), np.uint8),
            split=np.concatenate([part.split for part in parts]),
            names=np.concatenate([part.names for part in parts]),
            searches=Searches.join([part.searches for part in parts], [len(part) for part in parts]),
            **join_columns(parts),
        )


def _names(kind: type[Dataset | Searches]) -> list[str]:
    """Names of the arrays."""
    return [field.name for field in fields(kind) if field.name != "searches"]


def _tensors(arrays: Dataset | Searches) -> dict[str, NDArray[Any]]:
    return {name: np.ascontiguousarray(getattr(arrays, name)) for name in _names(type(arrays))}


def check_layout(what: str, layout: Layout, tensors: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    """The sizes that the letters of a layout stand for. Raises DatasetError, with `what`, for tensors of other ones."""
    sizes: dict[str, int] = {}
    for name, (dtype, dimensions) in layout.items():
        tensor, letters = tensors[name], dimensions.split()
        fits = tensor.dtype == dtype and tensor.ndim == len(letters)
        for letter, size in zip(letters, tensor.shape, strict=False):
            base, _, one = letter.partition("+")
            fits = fits and size == (int(base) if base.isdigit() else sizes.setdefault(base, size) + int(one or 0))
        if not fits:
            raise DatasetError(
                f"{what} does not fit together: tensor {name!r} is {tensor.dtype} {list(tensor.shape)}, "
                f"where {dtype.__name__} [{dimensions}] belongs"
            )
    return sizes


def _check(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Refuse tensors that do not fit together, and indices that point nowhere."""
    sizes = check_layout(f"data set {path}", _LAYOUT, tensors)
    game, rows = tensors["game"], tensors["searches.rows"]
    problem = None
    if not (_rises(game) and _within(game, sizes["G"])):
        problem = "its positions do not lie game by game"
    elif not _within(tensors["split"], len(SPLITS)):
        problem = "a game belongs to a split that does not exist"
    elif not _within(tensors["source"], _lines(tensors["source_names"])):
        problem = "a game comes from a file that it does not name"
    elif not _cuts(tensors["name_offsets"], sizes["t"]):
        problem = "the names of its games do not lie end to end"
    elif not (_within(rows, sizes["N"]) and np.all(np.diff(rows) > 0)):
        problem = "its searches are not those of its positions"
    elif not (_cuts(tensors["searches.offsets"], sizes["V"]) and np.all(tensors["searches.visits"] > 0)):
        problem = "the visits of its searches do not lie end to end"
    elif not all(_within(tensors[name], POLICY_SIZE) for name in ("best", "played", "searches.moves")):
        problem = "a move does not exist"
    if problem:
        raise DatasetError(f"data set {path} is damaged: {problem}")


def _within(indices: NDArray[Any], count: int) -> bool:
    """Whether all are from 0 to count - 1."""
    return not len(indices) or bool(indices.min() >= 0 and indices.max() < count)


def _lines(text: NDArray[np.uint8]) -> int:
    """How many lines of UTF-8 there are; none if it is not UTF-8."""
    try:
        return len(text.tobytes().decode().splitlines())
    except UnicodeDecodeError:
        return 0


def _rises(numbers: NDArray[Any]) -> bool:
    return bool(np.all(numbers[1:] >= numbers[:-1]))


def _cuts(offsets: NDArray[np.int64], length: int) -> bool:
    """Whether the offsets cut something of this length into pieces that lie end to end."""
    return bool(offsets[0] == 0 and offsets[-1] == length and _rises(offsets))


def _sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-np.clip(x, -60, 60)))).astype(np.float32)
