"""All that a training run on a GPU reads, small enough to lie in its memory: one safetensors file of plain arrays.

P positions: first those of the training games of data sets, game by game in playing order; then those with the values
of all moves; last those after these moves, of which only the value is known.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dejavu.model.chess.attacks import Planes, legal_mask
from dejavu.model.data.all_moves import MOVES, AllMoves, read_all_moves
from dejavu.model.data.dataset import MEMORY, TRAIN, Dataset, DatasetError, Layout, check_layout, wdl_of
from dejavu.model.data.processes import in_processes
from dejavu.model.data.shards import open_data
from dejavu.retrieval.atomic import atomic_write
from dejavu.retrieval.moves import POLICY_SIZE
from dejavu.retrieval.progress import progress_bar

FORMAT = "dejavu-device-arrays-1"
ALL_MOVES, CHILDREN = "all-moves", "children"
"""Sources of the positions that are of no game."""
UNKNOWN_MOVE = -1
_PLANES_A_TASK = 4096

_LAYOUT: Layout = {
    "planes": (np.int64, "P 4"),
    "clocks": (np.uint8, "P"),
    "wdl": (np.float32, "P 3"),
    "best": (np.int16, "P"),
    "follows": (np.bool_, "P"),
    "source": (np.int16, "P"),
    "source_names": (np.uint8, "u"),
    "legal": (np.uint8, f"L {POLICY_SIZE // 8}"),
    "moves": (np.int16, f"A {MOVES}"),
    "shares": (np.float32, f"A {MOVES}"),
}


@dataclass(frozen=True)
class DeviceArrays:
    """P positions; the first L have a policy, and of these the last A one over several moves."""

    planes: NDArray[np.int64]
    """[P, 4] packed positions; the bits are those of unsigned numbers, which torch computes little with."""
    clocks: NDArray[np.uint8]
    """[P] clock bytes."""
    wdl: NDArray[np.float32]
    """[P, 3] value target."""
    best: NDArray[np.int16]
    """[P] policy index of the best move; UNKNOWN_MOVE from L on."""
    follows: NDArray[np.bool_]
    """[P] whether the next position is the one after the best move."""
    source: NDArray[np.int16]
    """[P] index into the source names."""
    source_names: NDArray[np.uint8]
    """UTF-8 text: a line a source."""
    legal: NDArray[np.uint8]
    """[L, POLICY_SIZE / 8] legal moves, a bit each, lowest first."""
    moves: NDArray[np.int16]
    """[A, MOVES] policy indices."""
    shares: NDArray[np.float32]
    """[A, MOVES] their shares of the policy target."""

    def __len__(self) -> int:
        return len(self.planes)

    @property
    def sources(self) -> list[str]:
        """Game files, then ALL_MOVES and CHILDREN, in the order that `source` counts them."""
        return self.source_names.tobytes().decode().splitlines()

    def rows(self, name: str) -> NDArray[np.int64]:
        """Positions of the sources with this in their name."""
        return np.flatnonzero(np.isin(self.source, [i for i, known in enumerate(self.sources) if name in known]))

    def save(self, path: Path) -> None:
        """Write the file, atomically. Raises WriteError."""
        tensors = {item.name: np.ascontiguousarray(getattr(self, item.name)) for item in fields(self)}
        with atomic_write(path) as file:
            save_file(tensors, file.name, {"format": FORMAT})

    @classmethod
    def open(cls, path: Path) -> DeviceArrays:
        """Map the file into memory and check it. Raises DatasetError if it is missing or cannot be used."""
        try:
            with safe_open(path, framework="pt") as file:  # which maps the file, where that of numpy reads it
                if (file.metadata() or {}).get("format") != FORMAT:
                    raise DatasetError(f"{path} is not a file of arrays for a device")
                arrays = cls(**{name: file.get_tensor(name).numpy() for name in _LAYOUT})
        except FileNotFoundError:
            raise DatasetError(f"file of arrays {path} does not exist") from None
        except (OSError, SafetensorError) as error:
            raise DatasetError(f"file of arrays {path} cannot be read: {error}") from None
        arrays._check(f"file of arrays {path}")
        return arrays

    def _check(self, what: str) -> None:
        sizes = check_layout(what, _LAYOUT, vars(self))
        told = self.best[: sizes["L"]]
        if not (
            sizes["A"] <= sizes["L"] <= len(self)
            and all(len(part) == 0 or 0 <= part.min() <= part.max() < POLICY_SIZE for part in (told, self.moves))
            and np.all(self.best[sizes["L"] :] == UNKNOWN_MOVE)
            and not self.follows[sizes["L"] - 1 :].any()
            and np.all((self.source >= 0) & (self.source < len(self.sources)))
        ):
            raise DatasetError(f"{what} is damaged: a move, a policy or a source does not exist")


@dataclass(frozen=True)
class ArraysRun:
    """What arrays are made of."""

    data: Sequence[Path]
    """Data sets, of which the training games are taken."""
    out: Path
    all_moves: Path | None = None
    """Table of positions with the values of all moves."""
    processes: int = field(default_factory=lambda: os.cpu_count() or 1)


@dataclass(frozen=True)
class ArraysReport:
    """What came of it."""

    arrays: DeviceArrays
    seconds: float
    out: Path

    def __str__(self) -> str:
        counts = np.bincount(self.arrays.source, minlength=len(self.arrays.sources))
        listed = ", ".join(f"{name} {count:,}" for name, count in zip(self.arrays.sources, counts, strict=True))
        size = self.out.stat().st_size / 1e6
        return f"{len(self.arrays):,} positions: {listed}\n{self.seconds:.0f} s\nwrote {self.out}, {size:.0f} MB"


def prepare_arrays(run: ArraysRun) -> ArraysReport:
    """Make the arrays. Raises DatasetError and GameFileError, before the file is touched, and WriteError."""
    start = time.monotonic()
    dataset = open_data(run.data)
    if len(dataset.searches.rows):
        listed = ", ".join(map(str, run.data))
        raise DatasetError(f"{listed} with what searches visited, as in self-play: arrays have no place for that")
    all_moves = read_all_moves(run.all_moves, run.processes) if run.all_moves else None
    arrays = make_arrays(dataset, all_moves, run.processes)
    arrays.save(run.out)
    return ArraysReport(arrays, time.monotonic() - start, run.out)


def make_arrays(dataset: Dataset, all_moves: AllMoves | None, processes: int = 1) -> DeviceArrays:
    """The arrays of the training games of a data set, and of a table of the values of all moves."""
    rows = dataset.rows_to_learn((TRAIN, MEMORY))
    following = np.minimum(rows + 1, len(dataset) - 1)
    follows = (dataset.played[rows] == dataset.best[rows]) & (following > rows)
    follows &= dataset.game[following] == dataset.game[rows]  # a game is in one split, so the next row is taken, too
    planes, clocks, wdl = [dataset.planes[rows]], [dataset.clocks[rows]], [dataset.wdl_target(rows)]
    best, sources = [dataset.best[rows]], [dataset.source[dataset.game[rows]].astype(np.int16)]
    names, told = dataset.sources, len(rows)
    moves, shares = np.empty((0, MOVES), np.int16), np.empty((0, MOVES), np.float32)
    if all_moves is not None:
        moves, shares = all_moves.moves.astype(np.int16), all_moves.shares
        told += len(moves)
        planes += [all_moves.planes, all_moves.child_planes]
        clocks += [all_moves.clocks, all_moves.child_clocks]
        wdl += [wdl_of(all_moves.centipawns), wdl_of(all_moves.child_centipawns)]
        best.append(all_moves.moves[:, 0])
        for name, part in ((ALL_MOVES, all_moves.planes), (CHILDREN, all_moves.child_planes)):
            sources.append(np.full(len(part), len(names), np.int16))
            names = [*names, name]
    joined = np.concatenate(planes)
    known = np.full(len(joined), UNKNOWN_MOVE, np.int16)
    known[:told] = np.concatenate(best)
    goes_on = np.zeros(len(joined), np.bool_)
    goes_on[: len(rows)] = follows
    return DeviceArrays(
        planes=joined.view(np.int64),
        clocks=np.concatenate(clocks),
        wdl=np.concatenate(wdl),
        best=known,
        follows=goes_on,
        source=np.concatenate(sources),
        source_names=np.frombuffer("".join(f"{name}\n" for name in names).encode(), np.uint8),
        legal=_legal_moves(joined[:told], processes),
        moves=moves,
        shares=shares,
    )


def _legal_moves(planes: Planes, processes: int) -> NDArray[np.uint8]:
    """[L, 4] -> [L, POLICY_SIZE / 8]"""
    found = np.empty((len(planes), POLICY_SIZE // 8), np.uint8)
    tasks = (planes[start : start + _PLANES_A_TASK] for start in range(0, len(planes), _PLANES_A_TASK))
    done = 0
    with (
        progress_bar("legal moves", "positions", len(planes)) as progress,
        closing(in_processes(_packed_mask, tasks, processes)) as parts,
    ):
        for _, part in parts:
            found[done : done + len(part)] = part
            done += len(part)
            progress.update(len(part))
    return found


def _packed_mask(planes: Planes) -> NDArray[np.uint8]:
    return np.packbits(legal_mask(planes), axis=1, bitorder="little")
