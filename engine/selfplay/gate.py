"""The match that decides whether a network takes the place of the best one before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dejavu.engine.loader import EvaluatorFactory
from dejavu.engine.match.adjudication import DrawRule, ResignRule, Rules
from dejavu.engine.match.batch import FULL_BATCHES, run_batched
from dejavu.engine.match.elo import Results, Sprt
from dejavu.engine.match.openings import Opening
from dejavu.engine.match.pace import Pace
from dejavu.engine.match.players import PlayerSettings
from dejavu.engine.match.record import PlayedGame, Record, results
from dejavu.engine.match.report import full_report, score_line
from dejavu.engine.match.schedule import schedule
from dejavu.engine.match.tournament import Tournament

RULES = Rules(
    draw=DrawRule(movenumber=60, movecount=10, score=10),
    resign=ResignRule(movecount=4, score=800, twosided=True),
    maxmoves=100,
)
"""What ends the games early."""
TOLD_AFTER = 10
"""The score is told after every so many games."""


@dataclass(frozen=True)
class Contestant:
    """A network as it plays."""

    name: str
    weights: Path
    memory: Path | None

    @property
    def options(self) -> dict[str, str]:
        """UCI options."""
        return {"WeightsFile": str(self.weights), "MemoryFile": str(self.memory or "")}


@dataclass(frozen=True)
class Gate:
    """A match of two networks, kept in a PGN file."""

    candidate: Contestant
    opponent: Contestant
    pgn: Path

    @property
    def event(self) -> str:
        """What the record calls the match."""
        return f"{self.candidate.name} against {self.opponent.name}"

    def play(
        self,
        *,
        nodes: int,
        games: int,
        openings: Sequence[Opening],
        seed: int,
        at_once: int,
        sprt: Sprt | None,
        load: EvaluatorFactory,
        say: Callable[[str], None],
        complain: Callable[[str], None],
    ) -> None:
        """Play the games that are missing, with so many `nodes` a move, until `sprt` has decided.

        `say` gets the score now and then and the report; `complain` what the engine has to complain of.
        Raises PlayerError, and RecordError if the file holds another match.
        """
        names = (self.candidate.name, self.opponent.name)
        players = {
            one.name: PlayerSettings(one.name, (), Pace(nodes=nodes), {**one.options, **FULL_BATCHES})
            for one in (self.candidate, self.opponent)
        }
        planned = schedule(names, openings, games, gauntlet=False, seed=seed)
        # A test can end a match early only if not all of its games are under way at once.
        tournament = Tournament(self.event, players, planned, RULES, sprt, min(at_once, max(2, games // 4)))
        record = Record(self.pgn, self.event)
        say(f"{self.event}: {len(record.games)} of up to {games} games played")

        def finished(game: PlayedGame) -> None:
            if len(record.games) % TOLD_AFTER == 0:
                say(f"{len(record.games):>4}  {score_line(results(record.games, names[0], names[1:]), sprt)}")

        run_batched(tournament, record, finished, complain, load)
        say(full_report(record.games, names, "", sprt))

    def results(self) -> Results:
        """What the candidate has achieved so far. Raises RecordError if the file holds another match."""
        return results(Record(self.pgn, self.event).games, self.candidate.name, (self.opponent.name,))
