"""Plays what a record lacks of a schedule: several games at a time, until the last one or the verdict of a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

import chess

from dejavu.engine.match.adjudication import Rules
from dejavu.engine.match.elo import Hypothesis, Sprt
from dejavu.engine.match.game import Outcome, play
from dejavu.engine.match.players import Player, PlayerError, PlayerSettings
from dejavu.engine.match.record import PlayedGame, Record, results, to_pgn
from dejavu.engine.match.schedule import ScheduledGame


@dataclass(frozen=True)
class Tournament:
    """What is played, and how."""

    event: str
    """PGN's Event, which games that are counted together have in common."""
    players: Mapping[str, PlayerSettings]
    """By name, in the order in which they were given."""
    games: Sequence[ScheduledGame]
    rules: Rules = field(default_factory=Rules)
    sprt: Sprt | None = None
    """Of the first player against the second."""
    concurrency: int = 1
    margin: float = 0.0
    """Seconds a move may come late."""
    patience: float = 60.0
    """Seconds of silence after which a search without a clock has failed."""
    neighbours: int = 0
    """Neighbours that a Dejavu names at each move."""

    def headers(self, game: ScheduledGame) -> dict[str, str]:
        """PGN headers that tell under which conditions a game is played."""
        white, black = self.players[game.white], self.players[game.black]
        found = {"Event": self.event, "WhiteSettings": str(white), "BlackSettings": str(black)}
        if game.opening.fen != chess.STARTING_FEN:
            found |= {"SetUp": "1", "FEN": game.opening.fen}
        return found

    def pgn(self, game: ScheduledGame, outcome: Outcome) -> str:
        """The text of a finished game."""
        headers = {
            "Event": self.event,
            "Site": "?",
            "Date": outcome.began.strftime("%Y.%m.%d"),
            "Round": game.round,
            "White": game.white,
            "Black": game.black,
            "Result": outcome.result,
            **self.headers(game),
            "GameStartTime": outcome.began.isoformat(timespec="seconds"),
            "GameEndTime": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "PlyCount": str(len(game.opening.moves) + len(outcome.answers)),
            "Termination": outcome.termination,
        }
        if game.opening.name:
            headers["Opening"] = game.opening.name
        return to_pgn(headers, game.opening, outcome.answers, outcome.reason)

    def missing(self, record: Record) -> list[ScheduledGame]:
        """The games that are not in the record. Raises RecordError for a record of other games."""
        done = record.check(self.games, {game.round: self.headers(game) for game in self.games})
        return [game for game in self.games if game.round not in done]

    def accepted(self, record: Record) -> Hypothesis | None:
        """The hypothesis that the sequential test accepts by the record; None to play on."""
        if self.sprt is None:
            return None
        first, second = list(self.players)[:2]
        return self.sprt.accepted(results(record.games, first, [second]).pairs)


async def check_players(players: Mapping[str, PlayerSettings]) -> None:
    """Start every engine once. Raises PlayerError for one that does not start or does not take its options.

    A Dejavu that complains does not have the files it was to play with.
    """

    async def check(settings: PlayerSettings) -> None:
        said: list[str] = []
        player = Player(settings, 0.0, 0.0, said.append)
        await player.start()
        await player.close()
        if said and not settings.command:
            raise PlayerError(said[0])

    failed = await asyncio.gather(*map(check, players.values()), return_exceptions=True)
    for error in filter(None, failed):
        raise error


async def run(
    tournament: Tournament, record: Record, finished: Callable[[PlayedGame], None], say: Callable[[str], None]
) -> None:
    """Play the missing games, and tell `finished` of each once it is recorded; `say` gets what the engines say."""
    if tournament.accepted(record) is not None:
        return
    queue = iter(tournament.missing(record))
    slots = [
        asyncio.ensure_future(_slot(tournament, record, queue, finished, say)) for _ in range(tournament.concurrency)
    ]
    pending = set(slots)
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if any(slot.result() for slot in done):
                break
    finally:
        for slot in pending:
            slot.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _slot(
    tournament: Tournament,
    record: Record,
    queue: Iterator[ScheduledGame],
    finished: Callable[[PlayedGame], None],
    say: Callable[[str], None],
) -> bool:
    """Play one game after the other; True if the last one decided the sequential test."""
    players: dict[str, Player] = {}
    try:
        for game in queue:
            for name in players.keys() - {game.white, game.black}:
                await players.pop(name).close()
            for name in (game.white, game.black):
                if name not in players:
                    settings = tournament.players[name]
                    players[name] = Player(settings, tournament.margin, tournament.patience, say, tournament.neighbours)
            outcome = await play(game, players[game.white], players[game.black], tournament.rules)
            finished(record.add(tournament.pgn(game, outcome)))
            if tournament.accepted(record) is not None:
                return True
        return False
    finally:
        await asyncio.gather(*(player.close() for player in players.values()))
