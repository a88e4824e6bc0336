"""When a side of a self-play game gives up, and how often that is wrong.

A share of the games is played on: what they come to shows whether the side would have given up a game that it does not
lose. Nothing but the values of the positions is needed for that, so it can be asked of any games, at any threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dejavu.model.data.dataset import Dataset


@dataclass(frozen=True)
class Resignation:
    """A side gives up once its search has said Q <= -`value` for `moves` of its moves running."""

    value: float = 0.95
    moves: int = 3
    played_on: float = 0.2
    """Share of the games in which nobody gives up, to see what becomes of them."""


def gives_up(values: Sequence[float], ply: int, rule: Resignation) -> bool:
    """Whether the side to move at `ply` gives up; `values` [P] are each position's Q from the side to move."""
    first = ply - 2 * (rule.moves - 1)
    return first >= 0 and all(values[at] <= -rule.value for at in range(first, ply + 1, 2))


class Check(NamedTuple):
    """What the rule has done to games, or would have."""

    games: int
    ended: int
    """Games that ended by it."""
    played_on: int
    """Games that went on although a side could have given up."""
    won: int
    """Of these, those that this side won in the end ..."""
    drawn: int
    """... and those that it drew."""

    @property
    def false_positives(self) -> float:
        """Share of the games played on that were not lost; not a number without any."""
        return (self.won + self.drawn) / self.played_on if self.played_on else float("nan")


class SearchedGame(NamedTuple):
    """The values of a game, and how it ended."""

    values: list[float]
    """[P] Q of each position from the side to move."""
    results: list[int]
    """[P] 1, 0, -1: won, drawn, lost by the side to move in the end."""


def searched_games(dataset: Dataset) -> list[SearchedGame]:
    """The games of self-play in a data set."""
    searches = dataset.searches
    values = (searches.wdl[:, 0] - searches.wdl[:, 2]).tolist()
    results = dataset.result[searches.rows].tolist()
    starts = np.flatnonzero(np.diff(dataset.game[searches.rows], prepend=-1)).tolist()
    return [
        SearchedGame(values[start:end], results[start:end])
        for start, end in zip(starts, [*starts[1:], len(values)], strict=True)
    ]


def check(games: Iterable[SearchedGame], rule: Resignation) -> Check:
    """Count what the rule has done, or would have done: a game that ends lost where it says so counts as ended."""
    count = ended = played_on = won = drawn = 0
    for values, results in games:
        count += 1
        ply = next((ply for ply in range(len(values)) if gives_up(values, ply, rule)), None)
        if ply is None:
            continue
        if ply == len(values) - 1 and results[ply] == -1:
            ended += 1
            continue
        played_on += 1
        won += results[ply] == 1
        drawn += results[ply] == 0
    return Check(count, ended, played_on, won, drawn)
