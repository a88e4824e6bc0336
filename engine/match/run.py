"""Matches and tournaments of engines: what is asked for, what is left to play, and what came of it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dejavu.engine.match.adjudication import Rules
from dejavu.engine.match.batch import run_batched
from dejavu.engine.match.elo import Results, Sprt, SprtError
from dejavu.engine.match.openings import OpeningError, read_openings
from dejavu.engine.match.players import PlayerError, PlayerSettings
from dejavu.engine.match.record import PlayedGame, Record, RecordError, read_games, results
from dejavu.engine.match.report import as_json, full_report, score_line
from dejavu.engine.match.schedule import schedule
from dejavu.engine.match.tournament import Tournament, check_players, run

STANDING_GAMES = 20
"""In a tournament, the table is shown after so many games."""


class MatchError(ValueError):
    """What makes no match; the message is one sentence."""


MATCH_ERRORS = (MatchError, PlayerError, OpeningError, RecordError, SprtError)
"""What matches raise, beside OSError."""


@dataclass(frozen=True)
class MatchRun:
    """A match, or a tournament of more than two engines."""

    engines: Sequence[PlayerSettings]
    openings: Path
    """EPD, PGN, or TSV (ECO, name, moves)."""
    pgn: Path
    """The record to write or to go on with."""
    games: int = 100
    """Of each two engines."""
    gauntlet: bool = False
    """The first engine plays all others, instead of all with all."""
    seed: int | None = 1
    """Shuffles the openings; None: they come in order."""
    concurrency: int = 1
    """Games at the same time."""
    batched: bool = False
    """All games in this process: option sets of this Dejavu at fixed nodes."""
    margin: float = 0.1
    """Seconds a move may be late."""
    patience: float = 60.0
    """Seconds until a search without a clock that is silent has failed."""
    rules: Rules = field(default_factory=Rules)
    sprt: Sprt | None = None
    """Ends a match of two."""
    neighbours: int = 0
    """Noted of each Dejavu move."""

    def tournament(self) -> Tournament:
        """What is played. Raises MatchError and OpeningError."""
        players: dict[str, PlayerSettings] = {}
        for player in self.engines:
            if player.name in players:
                raise MatchError(f"two engines are called {player.name}; give each its name=")
            players[player.name] = player
        if len(players) < 2:
            raise MatchError("a match needs two engines: give --engine twice or more")
        if self.sprt is not None and len(players) > 2:
            raise MatchError("--sprt is for two engines")
        order = "in order" if self.seed is None else f"seed {self.seed}"
        return Tournament(
            event=f"{self.openings.name}, {order}",
            players=players,
            games=schedule(list(players), read_openings(self.openings), self.games, self.gauntlet, self.seed),
            rules=self.rules,
            sprt=self.sprt,
            concurrency=self.concurrency,
            margin=self.margin,
            patience=self.patience,
            neighbours=self.neighbours,
        )


@dataclass(frozen=True)
class MatchReport:
    """What came of games."""

    games: Sequence[PlayedGame]
    names: Sequence[str]
    """The engines; the score is the first one's."""
    conditions: str = ""
    sprt: Sprt | None = None

    @property
    def results(self) -> Results:
        """Of the first engine against all others."""
        return results(self.games, self.names[0], self.names[1:])

    def __str__(self) -> str:
        return full_report(self.games, self.names, self.conditions, self.sprt)

    def as_json(self) -> dict[str, Any]:
        """Everything; numbers that are not finite are null."""
        return as_json(self.games, self.names, self.sprt)


class Match:
    """A tournament and the record of what has been played of it."""

    def __init__(self, tournament: Tournament, pgn: Path) -> None:
        """Raises RecordError for a record of another match."""
        self.tournament = tournament
        self.record = Record(pgn, tournament.event)
        self.missing = tournament.missing(self.record)

    def play(self, say: Callable[[str], None], complain: Callable[[str], None], batched: bool = False) -> None:
        """Play what is missing; `say` gets how it goes, `complain` failures and what engines complain of.

        Raises PlayerError and RecordError.
        """
        tournament, record, missing = self.tournament, self.record, self.missing
        if not missing or tournament.accepted(record) is not None:
            return
        if not batched:
            asyncio.run(check_players(tournament.players))
        progress = Progress(tournament, record, say, complain)
        say(f"{len(missing)} games to play, {len(tournament.games) - len(missing)} in {record.path}")
        if batched:
            run_batched(tournament, record, progress.finished, complain)
        else:
            asyncio.run(run(tournament, record, progress.finished, complain))

    def report(self) -> MatchReport:
        """What the record holds."""
        players, event = self.tournament.players, self.tournament.event
        # What the engines have in common, or one after the other.
        settings = list(dict.fromkeys(map(str, players.values())))
        conditions = " - ".join([*settings, event]) if len(players) == 2 else event
        return MatchReport(self.record.games, list(players), conditions, self.tournament.sprt)


def report_of(pgn: Path, first: str | None, sprt: Sprt | None) -> MatchReport:
    """Sum up the games of a PGN file, with the score of the player `first`, or of the one with White in game 1.

    Raises MatchError, RecordError and OSError.
    """
    games = read_games(pgn)
    names = list(dict.fromkeys(name for game in games for name in (game.white, game.black)))
    if len(names) < 2:
        raise MatchError(f"{pgn} holds no finished games")
    if first is not None:
        if first not in names:
            raise MatchError(f"{first} plays no game of {pgn}, only {', '.join(names)} do")
        names.sort(key=lambda name: name != first)
    return MatchReport(games, names, sprt=sprt)


class Progress:
    """Says what happens: a line for every game, and the table now and then."""

    def __init__(
        self, tournament: Tournament, record: Record, say: Callable[[str], None], complain: Callable[[str], None]
    ) -> None:
        self._say = say
        self._complain = complain
        self._tournament = tournament
        self._record = record
        self._names = list(tournament.players)
        self._began = time.monotonic()
        self._left = self._total = len(tournament.missing(record))

    def finished(self, game: PlayedGame) -> None:
        self._left -= 1
        if game.failure is not None:
            self._complain(f"game {game.round}, {game.white} - {game.black}: {game.reason}")
        played = self._total - self._left
        seconds = (time.monotonic() - self._began) / played * self._left
        games = self._record.games
        line = (
            f"{len(games):>4}/{len(self._tournament.games)}  {game.white} - {game.black}  {game.result}  {game.reason}"
        )
        if len(self._names) == 2:
            found = results(games, self._names[0], self._names[1:])
            line += f"  |  {self._names[0]} {score_line(found, self._tournament.sprt)}"
        self._say(f"{line}  |  {_duration(seconds)} left")
        if len(self._names) > 2 and played % STANDING_GAMES == 0:
            self._say(full_report(games, self._names, "", None))


def _duration(seconds: float) -> str:
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
