"""The data set: every position of many games, packed, with what was best there and how it stood.

One safetensors file, memory-mapped. N positions, game by game in playing order; G games. Where a search of ours judged
a position, as in self-play, it is known how often each move was visited and what the root was worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dejavu.retrieval.atomic import atomic_write

FORMAT = "dejavu-dataset-2"
TRAIN, MEMORY, HELD_OUT = 0, 1, 2
SPLITS = {"train": TRAIN, "memory": MEMORY, "held-out": HELD_OUT}

NO_EVALUATION = 32767
MATE = 32000
"""A mate in n moves is stored as MATE - n, being mated in n as n - MATE."""
NO_RESULT = 2
MAX_SOURCES = 256

# WDL from centipawns: a pawn ahead is an even chance to win between engines (Stockfish's normalisation), and
# this many centipawns more or less take the logit by one. Wide, since the labels come from short searches.
EVEN_WIN_CENTIPAWNS = 100.0
CENTIPAWNS_PER_LOGIT = 45.0


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
        """Which of `rows` [B] have been searched: their places in `rows`, and those of their searches."""
        if not len(self.rows):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        found = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        places = np.flatnonzero(self.rows[found] == rows)
        return places, found[places]

    def visit_shares(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.float32]]:
        """The visited moves of `rows` [B]: place in `rows`, policy index, share of the position's visits; [K] each."""
        places, found = self.find(rows)
        counts = self.offsets[found + 1] - self.offsets[found]
        starts = np.cumsum(counts) - counts
        taken = np.repeat(self.offsets[found] - starts, counts) + np.arange(counts.sum())
        visits = self.visits[taken].astype(np.float32)
        totals = np.add.reduceat(visits, starts) if len(starts) else visits
        return np.repeat(places, counts), self.moves[taken], visits / np.repeat(totals, counts)


@dataclass(frozen=True)
class Dataset:
    """Arrays of a data set."""

    planes: NDArray[np.uint64]
    """[N, 4] packed positions."""
    clocks: NDArray[np.uint8]
    """[N] clock bytes."""
    best: NDArray[np.uint16]
    """[N] policy index of the best move known: the better move beside the played one, or the played one."""
    played: NDArray[np.uint16]
    """[N] policy index of the move played."""
    centipawns: NDArray[np.int16]
    """[N] evaluation from the side to move; mates near +-MATE; NO_EVALUATION."""
    result: NDArray[np.int8]
    """[N] 1, 0, -1: won, drawn, lost by the side to move in the end; NO_RESULT."""
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

    def __len__(self) -> int:
        return len(self.planes)

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

    def is_evaluated(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[B] whether a search of ours or an evaluation tells how the position stands."""
        known: NDArray[np.bool_] = self.centipawns[rows] != NO_EVALUATION
        known[self.searches.find(rows)[0]] = True
        return known

    def evaluated_wdl(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """[B, 3] win, draw, loss from the side to move: from our search, else the evaluation, else a third each."""
        pawns = self.centipawns[rows].astype(np.float32)
        win = _sigmoid((pawns - EVEN_WIN_CENTIPAWNS) / CENTIPAWNS_PER_LOGIT)
        loss = _sigmoid((-pawns - EVEN_WIN_CENTIPAWNS) / CENTIPAWNS_PER_LOGIT)
        wdl = np.stack([win, np.maximum(1 - win - loss, 0), loss], axis=1)
        places, found = self.searches.find(rows)
        wdl[places] = self.searches.wdl[found]
        wdl[~self.is_evaluated(rows)] = 1 / 3
        return wdl.astype(np.float32)

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
        """Raises DatasetError if the file is missing, truncated or not a data set."""
        try:
            with safe_open(path, framework="numpy") as file:
                if (file.metadata() or {}).get("format") != FORMAT:
                    raise DatasetError(f"{path} is not a Dejavu data set")
                searches = Searches(**{name: file.get_tensor(f"searches.{name}") for name in _names(Searches)})
                return cls(searches=searches, **{name: file.get_tensor(name) for name in _names(cls)})
        except FileNotFoundError:
            raise DatasetError(f"data set {path} does not exist") from None
        except (OSError, SafetensorError) as error:
            raise DatasetError(f"data set {path} cannot be read: {error}") from None

    @classmethod
    def join(cls, parts: Sequence[Dataset]) -> Dataset:
        """One data set of several, whose games are numbered on. Raises DatasetError for too many game files."""
        if len(parts) == 1:
            return parts[0]
        sources = list(dict.fromkeys(name for part in parts for name in part.sources))
        if len(sources) > MAX_SOURCES:
            raise DatasetError(f"a data set has at most {MAX_SOURCES} game files, not {len(sources)}")
        joined: dict[str, NDArray[Any]] = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in _names(cls)
            if name not in ("game", "source", "name_offsets", "source_names")
        }
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
            searches=Searches.join([part.searches for part in parts], [len(part) for part in parts]),
            **joined,
        )


def _names(kind: type[Dataset | Searches]) -> list[str]:
    """Names of the arrays."""
    return [field.name for field in fields(kind) if field.name != "searches"]


def _tensors(arrays: Dataset | Searches) -> dict[str, NDArray[Any]]:
    return {name: np.ascontiguousarray(getattr(arrays, name)) for name in _names(type(arrays))}


def _sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-np.clip(x, -60, 60)))).astype(np.float32)
