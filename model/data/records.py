"""From games to what a memory keeps of them: positions, how strong play goes on, how they stood."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dejavu.model.data.columns import join_columns
from dejavu.model.data.dataset import Dataset, Searches
from dejavu.model.data.games import GamePositions
from dejavu.retrieval.moves import CONTINUATION_PLIES, NO_MOVE
from dejavu.retrieval.positions import Positions


def join(
    games: Sequence[GamePositions], splits: Sequence[int], sources: Sequence[int], source_names: Sequence[str]
) -> Dataset:
    """A data set of `games`, at least one, each of a split and of a source among the named ones."""
    names = [f"{game.name}\n".encode() for game in games]
    sizes = [len(game) for game in games]
    return Dataset(
        game=np.repeat(np.arange(len(games), dtype=np.int32), sizes),
        split=np.array(splits, dtype=np.uint8),
        source=np.array(sources, dtype=np.uint8),
        names=np.frombuffer(b"".join(names), dtype=np.uint8),
        name_offsets=np.cumsum([0, *map(len, names)], dtype=np.int64),
        source_names=np.frombuffer("".join(f"{name}\n" for name in source_names).encode(), dtype=np.uint8),
        searches=Searches.join([game.searches for game in games], sizes),
        **join_columns(games),
    )


def continuations(dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.uint16]:
    """What strong play would do from each of `rows` [B]: policy indices [B, 8], NO_MOVE after the last known.

    The first ply is the best move. As long as it was also the one played, the next row of the game tells how
    its best play goes on.
    """
    plies = np.full((len(rows), CONTINUATION_PLIES), NO_MOVE, dtype=np.uint16)
    followed = np.arange(len(rows))  # the positions whose best play the game has followed so far
    for ply in range(CONTINUATION_PLIES):
        at = rows[followed] + ply
        plies[followed, ply] = dataset.best[at]
        goes_on = dataset.played[at] == dataset.best[at]
        following = np.minimum(at + 1, len(dataset) - 1)
        goes_on &= (following > at) & (dataset.game[following] == dataset.game[at])
        followed = followed[goes_on]
    return plies


def positions(dataset: Dataset, rows: NDArray[np.int64]) -> Positions:
    """`rows` [B] of a data set as a memory keeps them."""
    return Positions(
        planes=dataset.planes[rows],
        clocks=dataset.clocks[rows],
        continuations=continuations(dataset, rows),
        wdl=dataset.evaluated_wdl(rows),
        game=dataset.game[rows],
    )
