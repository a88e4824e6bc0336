"""Elementary endings that are won, played out from random positions against a defender."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import chess
import chess.engine

from dejavu.engine.match.external import ExternalEngine
from dejavu.engine.match.pace import Pace
from dejavu.engine.match.players import PlayerSettings
from dejavu.retrieval.progress import followed

PATIENCE = 60.0
"""Seconds after which an engine that should have moved has failed."""
WON_CENTIPAWNS = 500
"""The defender's verdict from which a position counts as won for the attacker."""
MOST_REFUSED = 1000
"""Positions in a row that are not won, after which an ending is given up."""
VERDICT = Pace(depth=16)
DEFENCE = Pace(nodes=20_000)


class EndingsError(ValueError):
    """Input that the endings cannot be played with; the message is one sentence."""


@dataclass(frozen=True)
class EndingsRun:
    """Which endings are played, and by whom."""

    defender: tuple[str, ...]
    """Command of a UCI engine that knows the endings."""
    attacker: tuple[str, ...] = ()
    """Empty for this Dejavu."""
    endings: Sequence[str] = ("KQvK", "KRvK", "KPvK")
    games: int = 50
    """Of each ending."""
    movetime: int = 100
    """The attacker's milliseconds a move."""
    options: Mapping[str, str] = field(default_factory=dict)
    """The attacker's."""
    seed: int = 0


@dataclass(frozen=True)
class Result:
    """One ending played out."""

    start: str
    """FEN; the attacker, White, moves first."""
    won: bool
    plies: int
    ending: str
    """CHECKMATE, STALEMATE, FIFTY_MOVES, ..."""


@dataclass(frozen=True)
class EndingReport:
    """All games of an ending."""

    ending: str
    results: Sequence[Result]

    def __str__(self) -> str:
        """One line for the ending, one more for each game that was not won."""
        won = [result.plies for result in self.results if result.won]
        moves = f", {sum(won) / len(won) / 2:.1f} moves on average, at most {(max(won) + 1) // 2}" if won else ""
        lost = [
            f"    {result.ending} after {result.plies} plies: {result.start}"
            for result in self.results
            if not result.won
        ]
        return "\n".join([f"{self.ending}: {len(won)} of {len(self.results)} won{moves}", *lost])

    def as_json(self) -> list[dict[str, Any]]:
        """Every game."""
        return [asdict(result) for result in self.results]


def play_endings(run: EndingsRun) -> Iterator[EndingReport]:
    """Play each ending. Raises EndingsError, and ENGINE_ERRORS of match/external.py."""
    for ending in run.endings:
        sides = ending.split("v")
        if len(sides) != 2 or any(side[:1] != "K" or set(side[1:]) - set("QRBNP") for side in sides):
            raise EndingsError(f"'{ending}' is not an ending such as KQvK")
    attacking = PlayerSettings("the attacker", run.attacker, Pace(movetime=run.movetime / 1000), run.options)
    verdict_settings, defending = (PlayerSettings("the defender", run.defender, pace) for pace in (VERDICT, DEFENCE))
    with (
        ExternalEngine(attacking, PATIENCE) as attacker,
        ExternalEngine(verdict_settings, PATIENCE) as referee,
        ExternalEngine(defending, PATIENCE) as defender,
    ):
        for engine in (attacker, referee, defender):
            engine.start()
        for ending in run.endings:
            boards = won_positions(ending, run.games, referee, random.Random(f"{ending} {run.seed}"))
            games = (play_out(board, attacker, defender) for board in boards)
            yield EndingReport(ending, list(followed(games, ending, "games", run.games)))


def random_position(ending: str, rng: random.Random) -> chess.Board:
    """A legal position of an ending such as KQvK, White to move and not in check."""
    while True:
        board = chess.Board(None)
        squares = iter(rng.sample(range(64), len(ending) - 1))
        for colour, pieces in zip(chess.COLORS, ending.split("v"), strict=True):
            for symbol in pieces:
                board.set_piece_at(next(squares), chess.Piece(chess.PIECE_SYMBOLS.index(symbol.lower()), colour))
        if board.is_valid() and not board.is_check() and any(board.legal_moves):
            return board


def won_positions(ending: str, count: int, referee: ExternalEngine, rng: random.Random) -> Iterator[chess.Board]:
    """Random positions that the defender gives up as lost; raises EndingsError where it hardly ever does."""
    refused = 0
    while count:
        if refused == MOST_REFUSED:
            raise EndingsError(f"of {refused} positions of {ending} in a row none is won")
        refused += 1
        board = random_position(ending, rng)
        score = referee.play(board, ending).score
        if score is not None and score.score(mate_score=100_000) >= WON_CENTIPAWNS:
            count, refused = count - 1, 0
            yield board


def play_out(board: chess.Board, attacker: ExternalEngine, defender: ExternalEngine) -> Result:
    """Play `board` out; the attacker has White."""
    start, game = board.fen(), object()
    while (outcome := _outcome(board)) is None:
        engine = attacker if board.turn == chess.WHITE else defender
        board.push(engine.play(board, game).move)
    return Result(start, outcome.winner == chess.WHITE, board.ply(), outcome.termination.name)


def _outcome(board: chess.Board) -> chess.Outcome | None:
    """The end of the game, if it is one: draws by rule need no claim, and none is taken before it stands."""
    drawn = board.is_repetition(3) or board.halfmove_clock >= 100
    return board.outcome(claim_draw=drawn)
