"""Which games make up a match or a tournament.

Games come in pairs: one opening, both colours. Round after round, every two engines that meet play one pair of the
round's opening. Asking for more games adds games at the end and changes none before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from random import Random

from dejavu.engine.match.openings import Opening


@dataclass(frozen=True)
class ScheduledGame:
    """A game to play."""

    pair: int
    """Counts from 1."""
    half: int
    """1: the engine that was named first has White; 2: the other one."""
    white: str
    black: str
    opening: Opening

    @property
    def round(self) -> str:
        """PGN's Round, which names the game within its tournament: "17.2"."""
        return f"{self.pair}.{self.half}"


def schedule(
    engines: Sequence[str], openings: Sequence[Opening], games: int, gauntlet: bool, seed: int | None
) -> list[ScheduledGame]:
    """`games` games of each two engines: of all with all, or of the first with all others (`gauntlet`).

    Openings are shuffled with `seed`, or in order where it is None; they begin again when all have been played.
    """
    order = list(openings)
    if seed is not None:
        Random(seed).shuffle(order)
    meetings = [(engines[0], other) for other in engines[1:]] if gauntlet else list(combinations(engines, 2))
    found: list[ScheduledGame] = []
    pair = 0
    for number in range((games + 1) // 2):
        opening = order[number % len(order)]
        for first, second in meetings:
            pair += 1
            both = ScheduledGame(pair, 1, first, second, opening), ScheduledGame(pair, 2, second, first, opening)
            found += islice(both, games - 2 * number)
    return found
