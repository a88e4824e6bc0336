"""Measuring the anchors of UCI_Elo: each way to play of engine/search/strength.py in a match against Stockfish."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dejavu.engine.match.elo import Results, elo_difference, score_interval
from dejavu.engine.match.openings import Opening, read_openings
from dejavu.engine.match.players import parse_player
from dejavu.engine.match.run import Match
from dejavu.engine.match.schedule import schedule
from dejavu.engine.match.tournament import Tournament
from dejavu.engine.search.strength import ANCHORS, Strength

TABLE_HEAD = "| nodes | temperature | Stockfish's UCI_Elo | won-drawn-lost | score | Elo (95 %) |\n|" + "---|" * 6
STOCKFISH_WEAKEST, STOCKFISH_STRONGEST = 1350, 2850
"""The range of Stockfish 15.1's UCI_Elo."""


def opponent_elo(anchor: Strength) -> int:
    """The UCI_Elo to measure an anchor against."""
    return min(max(anchor.elo, STOCKFISH_WEAKEST), STOCKFISH_STRONGEST)


@dataclass(frozen=True)
class AnchorsRun:
    """How each anchor is measured."""

    openings: Path
    out: Path
    """Folder of the games."""
    games: int = 40
    """An anchor."""
    opponent_nodes: int = 30000
    """Stockfish's nodes a move."""
    concurrency: int = 2
    """Games played at the same time."""
    options: Mapping[str, str] = field(default_factory=dict)
    """For Dejavu."""

    def tournament(self, anchor: Strength, openings: Sequence[Opening]) -> Tournament:
        """The match of one anchor. Raises PlayerError."""
        elo = opponent_elo(anchor)
        options = {"Threads": "1", "Temperature": f"{anchor.temperature:g}", **self.options}
        players = [
            parse_player(
                ["name=Dejavu", f"nodes={anchor.nodes}", *(f"option.{name}={text}" for name, text in options.items())]
            ),
            parse_player(
                [f"name=Stockfish {elo}", "cmd=stockfish", f"nodes={self.opponent_nodes}"],
                ["option.UCI_LimitStrength=true", f"option.UCI_Elo={elo}"],
            ),
        ]
        names = [player.name for player in players]
        return Tournament(
            event=f"{anchor.nodes} nodes, temperature {anchor.temperature:g}, against {elo}",
            players=dict(zip(names, players, strict=True)),
            games=schedule(names, openings, self.games, gauntlet=False, seed=None),
            concurrency=self.concurrency,
        )

    def pgn(self, anchor: Strength) -> Path:
        """Where the games of an anchor lie."""
        name = f"{anchor.nodes}-nodes-temperature-{anchor.temperature:g}-against-{opponent_elo(anchor)}.pgn"
        return self.out / name


def measure_anchors(
    run: AnchorsRun, say: Callable[[str], None], complain: Callable[[str], None]
) -> Iterator[tuple[Strength, Results]]:
    """Play what is missing of each anchor's match; what it achieved. Raises PlayerError, OpeningError, RecordError."""
    openings = read_openings(run.openings)
    for anchor in ANCHORS:
        match = Match(run.tournament(anchor, openings), run.pgn(anchor))
        match.play(say, complain)
        report = match.report()
        say(f"\n{report}")
        yield anchor, report.results


def row(anchor: Strength, found: Results) -> str:
    """A line of the table: the way to play, the match, and the Elo it stands for with its 95 % interval."""
    score = found.points / found.games
    elo = opponent_elo(anchor)
    measured, low, high = (elo_difference(share) for share in (score, *score_interval(score, found.games)))
    words = [f"{elo + number:.0f}" if math.isfinite(number) else "beyond" for number in (measured, low, high)]
    return (
        f"| {anchor.nodes} | {anchor.temperature:g} | {elo} | {found.wins}-{found.draws}-{found.losses} |"
        f" {100 * score:.0f} % | {words[0]} ({words[1]} to {words[2]}) |"
    )
