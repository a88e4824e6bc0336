"""The data set: every position of many games, packed, with what was best there and how it stood.

One safetensors file, memory-mapped. N positions, game by game in playing order; G games.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

FORMAT = "dejavu-dataset-1"
TRAIN, MEMORY, HELD_OUT = 0, 1, 2
SPLITS = {"train": TRAIN, "memory": MEMORY, "held-out": HELD_OUT}

NO_EVALUATION = 32767
MATE = 32000
"""A mate in n moves is stored as MATE - n, being mated in n as n - MATE."""
NO_RESULT = 2

# WDL from centipawns: a pawn ahead is an even chance to win between engines (Stockfish's normalisation), and
# this many centipawns more or less take the logit by one. Wide, since the labels come from short searches.
EVEN_WIN_CENTIPAWNS = 100.0
CENTIPAWNS_PER_LOGIT = 45.0


class DatasetError(ValueError):
    """A data set that cannot be used; the message is one sentence naming the file and what is wrong."""


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

    def wdl_target(self, rows: NDArray[np.int64], result_weight: float = 0.0) -> NDArray[np.float32]:
        """[B, 3] win, draw, loss from the side to move: from the evaluation, else the result, else even.

        Where both are known, the game's result has `result_weight` of the target.
        """
        pawns = self.centipawns[rows].astype(np.float32)
        win = _sigmoid((pawns - EVEN_WIN_CENTIPAWNS) / CENTIPAWNS_PER_LOGIT)
        loss = _sigmoid((-pawns - EVEN_WIN_CENTIPAWNS) / CENTIPAWNS_PER_LOGIT)
        wdl = np.stack([win, np.maximum(1 - win - loss, 0), loss], axis=1)
        unknown = self.centipawns[rows] == NO_EVALUATION
        result = self.result[rows]
        known = np.eye(3, dtype=np.float32)[1 - np.where(result == NO_RESULT, 0, result)]
        weight = np.where(unknown, 1, np.where(result == NO_RESULT, 0, result_weight))[:, None]
        wdl += weight * (known - wdl)
        wdl[unknown & (result == NO_RESULT)] = 1 / 3
        return wdl.astype(np.float32)

    def save(self, path: Path) -> None:
        """Write the file, atomically."""
        partial = path.with_name(path.name + ".partial")
        save_file(
            {field.name: np.ascontiguousarray(getattr(self, field.name)) for field in fields(self)},
            partial,
            {"format": FORMAT},
        )
        os.replace(partial, path)

    @classmethod
    def open(cls, path: Path) -> Dataset:
        """Raises DatasetError if the file is missing, truncated or not a data set."""
        try:
            with safe_open(path, framework="numpy") as file:
                if (file.metadata() or {}).get("format") != FORMAT:
                    raise DatasetError(f"{path} is not a Dejavu data set")
                return cls(**{field.name: file.get_tensor(field.name) for field in fields(cls)})
        except FileNotFoundError:
            raise DatasetError(f"data set {path} does not exist") from None
        except (OSError, SafetensorError) as error:
            raise DatasetError(f"data set {path} cannot be read: {error}") from None


def _sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-np.clip(x, -60, 60)))).astype(np.float32)
