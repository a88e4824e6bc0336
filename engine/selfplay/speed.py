"""How much faster many games of self-play at once are than games one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from dejavu.engine.loader import EvaluatorFactory, load_network
from dejavu.engine.match.batch import SharedPlayer, play_together
from dejavu.engine.selfplay.game import Conditions, SelfPlayGame
from dejavu.engine.selfplay.run import SelfPlayRun

PLIES = 24
"""Only the first plies of games are played."""
ROUNDS = 3
SHARE = 16
"""One game is played alone for so many at once."""


def measure_speed(
    run: SelfPlayRun,
    say: Callable[[str], None],
    complain: Callable[[str], None],
    load: EvaluatorFactory = load_network,
) -> None:
    """Tell samples a second of as many games at once as `run` says, and of games one by one, in turns.

    Raises PlayerError and OpeningError.
    """
    rules = replace(run.conditions(), max_plies=PLIES, resignation=None)
    player, at_once, seed = SharedPlayer(run.player, complain, load), run.at_once, run.seed
    together, alone = range(at_once), range(max(1, at_once // SHARE))
    ratios = []
    say(f"games of {PLIES} plies, {player.evaluator.describe()}")
    for _ in range(ROUNDS):
        many = _samples_a_second(_games(together, player, rules, seed), at_once)
        one = _samples_a_second(_games(alone, player, rules, seed), 1)
        ratios.append(many / one)
        say(
            f"{at_once} games at once {many:.1f} samples a second, one by one {one:.1f}: {ratios[-1]:.1f} times as fast"
        )
    say(f"median: {np.median(ratios):.1f} times as fast")


def _games(numbers: Sequence[int], player: SharedPlayer, rules: Conditions, seed: int) -> Iterator[SelfPlayGame]:
    """Games of these numbers, each made when its turn comes."""
    return (SelfPlayGame(number, player, rules, seed) for number in numbers)


def _samples_a_second(games: Iterator[SelfPlayGame], at_once: int) -> float:
    """Positions searched a second."""
    start = time.perf_counter()
    samples = sum(len(game.targets) for game in play_together(games, at_once))
    return samples / (time.perf_counter() - start)
