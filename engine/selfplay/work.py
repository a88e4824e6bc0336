"""Games of self-play as a piece of work, which a process here or a worker of a cluster does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from dejavu.engine.loader import EvaluatorFactory
from dejavu.engine.match.batch import SharedPlayer, play_together
from dejavu.engine.match.players import PlayerSettings
from dejavu.engine.selfplay.game import Conditions, SelfPlayGame
from dejavu.model.data.games import GamePositions


@dataclass(frozen=True)
class SelfPlayWork:
    """What all games have in common; `at_once` of them are played at the same time."""

    settings: PlayerSettings
    conditions: Conditions
    seed: int
    at_once: int
    year: int
    load: EvaluatorFactory

    def play(self, player: SharedPlayer, numbers: Iterable[int]) -> Iterator[tuple[int, GamePositions]]:
        """The games of these numbers, each with its own as soon as it is over. Raises PlayerError."""
        games = (SelfPlayGame(number, player, self.conditions, self.seed) for number in numbers)
        for game in play_together(games, self.at_once):
            yield game.number, game.positions(f"Dejavu - Dejavu, self-play game {game.number}, {self.year}")

    def __call__(self, numbers: Mapping[int, None]) -> Iterator[tuple[int, GamePositions]]:
        """The same where no player is there yet. Raises PlayerError."""
        return self.play(SharedPlayer(self.settings, _ignore, self.load), numbers)


def _ignore(complaint: str) -> None:
    """Whoever hands out the work has a player, too, and has heard it."""
