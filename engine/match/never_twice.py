"""Never twice: the same openings round after round against the same opponent, once with learning and once without.

Each of the two arms is a match of its own, with its own record and its own file of learned positions in the run folder,
so that it goes on after a kill. A round is every opening with both colours.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import chess.pgn

from dejavu.engine.match.adjudication import Rules
from dejavu.engine.match.elo import elo_difference, score_interval
from dejavu.engine.match.openings import read_openings
from dejavu.engine.match.pace import Pace
from dejavu.engine.match.players import PlayerError, PlayerSettings
from dejavu.engine.match.record import RESULTS
from dejavu.engine.match.run import Match
from dejavu.engine.match.schedule import schedule
from dejavu.engine.match.tournament import Tournament
from dejavu.engine.uci.learning import FOLDER
from dejavu.retrieval.atomic import atomic_write

ARMS = ("on", "off")
"""Values of the option Learn."""
NAME = "Dejavu"


@dataclass(frozen=True)
class NeverTwiceRun:
    """What is played."""

    opponent: PlayerSettings
    openings: Path
    folder: Path
    """Records, learned files, report and picture."""
    nodes: int = 200
    """A move of Dejavu's. It learns from searches of 200 and more."""
    count: int = 30
    """Openings, drawn from the file."""
    rounds: int = 5
    seed: int = 1
    """Draws the openings."""
    concurrency: int = 1
    """Games at the same time, each in engine processes of its own."""
    rules: Rules = field(default_factory=Rules)

    def match(self, arm: str) -> Match:
        """One arm. Raises PlayerError, OpeningError, RecordError and OSError."""
        if self.opponent.name == NAME:
            raise PlayerError(f"the opponent is called {NAME}, too: give it its name=")
        openings = read_openings(self.openings)
        Random(self.seed).shuffle(openings)
        folder = self.folder / arm
        folder.mkdir(parents=True, exist_ok=True)
        options = {"Learn": arm}
        player = PlayerSettings(
            NAME, (), Pace(None, None, self.nodes, None), options, environment={FOLDER: os.path.abspath(folder)}
        )
        players = {player.name: player, self.opponent.name: self.opponent}
        some = openings[: self.count]
        tournament = Tournament(
            event=f"Never twice, {len(some)} of {self.openings.name}, seed {self.seed}",
            players=players,
            games=schedule(list(players), some, 2 * len(some) * self.rounds, False, None),
            rules=self.rules,
            concurrency=self.concurrency,
        )
        return Match(tournament, folder / "games.pgn")


@dataclass(frozen=True)
class Course:
    """How one game of an arm went."""

    round: int
    """From 1."""
    game: tuple[int, int]
    """Opening and half, which come again in every round."""
    points: float
    """Dejavu's."""
    moves: tuple[str, ...]


@dataclass(frozen=True)
class Round:
    """What an arm scored in a round, and what became of the games that it had lost in the first."""

    arm: str
    number: int
    games: int
    score: float
    """Points a game."""
    interval: tuple[float, float]
    """Of 95 %."""
    lost_first: int
    """Games of the first round that were lost and that this round has played."""
    other_course: int
    """Those of them that went another way."""
    lost_again: int
    lost_the_same_way: int

    def __str__(self) -> str:
        low, high = self.interval
        line = (
            f"Learn {self.arm:3}  round {self.number}  {self.games:3} games  {self.score:.1%} "
            f"({low:.1%} to {high:.1%})  {elo_difference(self.score):+.0f} Elo"
        )
        if self.number == 1 or not self.lost_first:
            return line
        return (
            f"{line}; of {self.lost_first} lost in round 1, {self.other_course} went another way and "
            f"{self.lost_again} were lost again, {self.lost_the_same_way} of them by the same moves"
        )


def courses(pgn: Path, openings: int) -> list[Course]:
    """The finished games of an arm's record."""
    found: list[Course] = []
    with pgn.open(encoding="utf-8") as text:
        while (game := chess.pgn.read_game(text)) is not None:
            pair, half = map(int, game.headers["Round"].split("."))
            points = RESULTS[game.headers["Result"]]
            index = (pair - 1) % openings, half
            moves = tuple(move.uci() for move in game.mainline_moves())
            own = points if game.headers["White"] == NAME else 1 - points
            found.append(Course((pair - 1) // openings + 1, index, own, moves))
    return found


def rounds_of(arm: str, games: Sequence[Course]) -> list[Round]:
    """What was scored, round by round."""
    lost = {game.game: game for game in games if game.round == 1 and game.points == 0}
    found: list[Round] = []
    for number in sorted({game.round for game in games}):
        played = [game for game in games if game.round == number]
        again = [game for game in played if game.game in lost]
        same = [game for game in again if game.moves == lost[game.game].moves]
        score = sum(game.points for game in played) / len(played)
        found.append(
            Round(
                arm,
                number,
                len(played),
                score,
                score_interval(score, len(played)),
                len(again),
                len(again) - len(same),
                sum(game.points == 0 for game in again),
                len(same),
            )
        )
    return found


def plot(rounds: Sequence[Round], path: Path) -> None:
    """Score by round with its interval, an arm a line. Raises WriteError."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure, axis = plt.subplots(figsize=(6, 4))
    for shift, arm in enumerate(ARMS):
        mine = [item for item in rounds if item.arm == arm]
        scores = [item.score for item in mine]
        errors = [
            [item.score - item.interval[0] for item in mine],
            [item.interval[1] - item.score for item in mine],
        ]
        numbers = [item.number + 0.06 * shift for item in mine]
        axis.errorbar(numbers, scores, errors, marker="o", capsize=3, label=f"Learn {arm}")
    axis.set(xlabel="round, the same openings in each", ylabel="score, with its 95 % interval", ylim=(0, 1))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.grid(alpha=0.3)
    axis.legend()
    figure.tight_layout()
    with atomic_write(path) as file:
        figure.savefig(file, dpi=110, format="png")
    plt.close(figure)


@dataclass(frozen=True)
class NeverTwiceReport:
    """Both arms, round by round."""

    rounds: Sequence[Round]

    def gain(self, arm: str) -> tuple[float, float]:
        """Elo from the first round to the last one of an arm, and half of its 95 % interval."""
        mine = [item for item in self.rounds if item.arm == arm]
        first, last = mine[0], mine[-1]
        errors = [(elo_difference(item.interval[1]) - elo_difference(item.interval[0])) / 2 for item in (first, last)]
        return elo_difference(last.score) - elo_difference(first.score), math.hypot(*errors)

    def __str__(self) -> str:
        lines = [str(item) for item in self.rounds]
        for arm in dict.fromkeys(item.arm for item in self.rounds):
            elo, error = self.gain(arm)
            lines.append(f"Learn {arm}: {elo:+.0f} +- {error:.0f} Elo from first to last round")
        return "\n".join(lines)

    def as_json(self) -> list[dict[str, Any]]:
        """A row for every arm and round."""
        return [{**item.__dict__, "interval": list(item.interval)} for item in self.rounds]


def play(run: NeverTwiceRun, say: Callable[[str], None], complain: Callable[[str], None]) -> NeverTwiceReport:
    """Play what is missing of both arms, and write `report.json` and `rounds.png`.

    Raises PlayerError, OpeningError, RecordError, OSError and WriteError.
    """
    rounds: list[Round] = []
    for arm in ARMS:
        match = run.match(arm)
        say(f"Learn {arm}")
        match.play(say, complain)
        openings = len(match.tournament.games) // (2 * run.rounds)
        rounds += rounds_of(arm, courses(match.record.path, openings))
    report = NeverTwiceReport(rounds)
    with atomic_write(run.folder / "report.json") as file:
        file.write((json.dumps(report.as_json(), indent=1) + "\n").encode())
    plot(rounds, run.folder / "rounds.png")
    return report
