"""How often a person would call similar what an order of a memory's positions puts first.

A remembered position counts as relevant if it has the same pawn structure (all pawns within two moves of each other),
the same material and an opening of the same family (the first two characters of its ECO code).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dejavu.model.chess.encoding import unpack
from dejavu.model.chess.structure import count_bits, pawn_files, pawn_moves, piece_boards, piece_counts
from dejavu.model.similar import SimilarPositions
from dejavu.retrieval.knn import FlatIndex
from dejavu.retrieval.memory import Memory
from dejavu.retrieval.names import GameName

ORDERS = ("similar positions", "keys alone", "Hamming distance of boards", "pawn structure alone", "random")
CRITERIA = ("all three", "structure", "material", "family")
FIRST = 10
"""How many of an order are looked at."""

NEAR_PAWN_MOVES = 2
RESAMPLINGS = 2000
_ONE_OF_A_GAME = 60
"""Times as many entries are fetched as are wanted, so that there are enough of different games."""


def family(name: str) -> str:
    """The family of the opening of a game, by the line that names it; empty if it has none."""
    return GameName.parse(name).eco[:2]


@dataclass(frozen=True)
class Asked:
    """B positions that are asked about, none of a game that the memory has."""

    planes: NDArray[np.uint64]
    """[B, 4]"""
    clocks: NDArray[np.uint8]
    """[B]"""
    families: NDArray[np.str_]
    """[B] none of them empty."""
    games: NDArray[np.int32]
    """[B]"""


@dataclass(frozen=True)
class Precision:
    """Shares of relevant positions among the first FIRST."""

    shares: NDArray[np.float64]
    """[B, orders, criteria]"""
    relevant: NDArray[np.int64]
    """[B, criteria] games with a relevant position."""
    games: NDArray[np.int32]
    """[B]"""

    def mean(self, order: int, criterion: int, against: int | None = None) -> tuple[float, float, float]:
        """The mean share, or how much it is above that of another order, and its 95 % interval.

        The interval is a bootstrap of games, since positions of one game are alike.
        """
        values = self.shares[:, order, criterion]
        if against is not None:
            values = values - self.shares[:, against, criterion]
        _, game = np.unique(self.games, return_inverse=True)
        sums, counts = np.bincount(game, weights=values), np.bincount(game)
        drawn = np.random.default_rng(0).integers(0, len(sums), (RESAMPLINGS, len(sums)))
        means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        return float(values.mean()), float(low), float(high)

    def where_enough(self, criterion: int) -> Precision:
        """Of the positions alone for which FIRST games have something relevant."""
        enough = self.relevant[:, criterion] >= FIRST
        return Precision(self.shares[enough], self.relevant[enough], self.games[enough])


def measure_similarity(
    memory: Memory,
    embed: Callable[[NDArray[np.uint64], NDArray[np.uint8]], NDArray[np.float32]],
    asked: Asked,
    progress: Callable[[], object],
) -> Precision:
    """How many of the first FIRST, each of another game, are relevant in each order and by each criterion.

    `progress` is called after every position.
    """
    families = np.array([family(memory.game_name(game)) for game in range(memory.games)])[memory.game]
    boards = memory.boards
    files, pieces, counts = pawn_files(boards), piece_boards(boards), piece_counts(boards)
    similar, flat = SimilarPositions([memory], embed), FlatIndex(memory.position_keys)
    queries = memory.project(embed(asked.planes, asked.clocks)).reshape(len(asked.planes), -1)
    generator = np.random.default_rng(0)
    shares = np.zeros((len(asked.planes), len(ORDERS), len(CRITERIA)))
    relevant = np.zeros((len(asked.planes), len(CRITERIA)), np.int64)
    for row, planes in enumerate(asked.planes):
        moves = pawn_moves(files, pawn_files(planes[None])[0])
        same = [
            moves <= NEAR_PAWN_MOVES,
            (counts == piece_counts(planes[None])).all(axis=1),
            families == asked.families[row],
        ]
        criteria = [np.logical_and.reduce(same), *same]
        relevant[row] = [np.count_nonzero(np.bincount(memory.game[criterion])) for criterion in criteria]
        hamming = np.zeros(len(boards), np.int64)
        for ours, theirs in zip(pieces, piece_boards(planes[None]), strict=True):
            hamming += count_bits(ours ^ theirs)
        found = similar.find(unpack(planes, int(asked.clocks[row])), int(asked.clocks[row]), FIRST)
        nearest = flat.search(queries[row : row + 1], min(_ONE_OF_A_GAME * FIRST, len(memory)))[1][0]
        orders = (
            np.array([item.entry for item in found]),
            nearest,
            _first(hamming, generator),
            _first(moves, generator),
            generator.permutation(len(boards))[: _ONE_OF_A_GAME * FIRST],
        )
        for number, entries in enumerate(orders):
            chosen = entries[np.sort(np.unique(memory.game[entries], return_index=True)[1])][:FIRST]
            shares[row, number] = [criterion[chosen].sum() / FIRST for criterion in criteria]
        progress()
    return Precision(shares, relevant, asked.games)


def _first(values: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """Entries with the least of the values [n], in order; which of equal ones come first is left to chance."""
    broken = values + generator.random(len(values))
    count = min(_ONE_OF_A_GAME * FIRST, len(values))
    nearest = np.argpartition(broken, count - 1)[:count]
    return nearest[np.argsort(broken[nearest])]
