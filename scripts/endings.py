"""Does the engine win what is won? It plays out elementary endings from random positions against a UCI defender.

    python scripts/endings.py --defender stockfish
    python scripts/endings.py --defender stockfish --endings KQvK KRvK --games 50 --movetime 100 --json runs/won.json

A position counts as won where the defender's own search says so: it must know these endings. A game that
is not won within the rules (mate before the fifty-move rule, repetition, stalemate) counts as failed, and its
position is printed.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import chess
import chess.engine
from command_line.arguments import option, options_of, positive
from command_line.ending import one_sentence
from tqdm import tqdm

from dejavu.retrieval.atomic import write_text

START_SECONDS = 60.0
"""How long an engine may take to load before it counts as hung."""
WON_CENTIPAWNS = 500
"""The defender's verdict from which a position counts as won for the attacker."""
VERDICT = chess.engine.Limit(depth=16)
DEFENCE = chess.engine.Limit(nodes=20_000)


class EndingsError(ValueError):
    """Input that the endings cannot be played with; the message is one sentence."""


@dataclass(frozen=True)
class Result:
    """One ending played out."""

    start: str
    """FEN; the attacker, White, moves first."""
    won: bool
    plies: int
    ending: str
    """CHECKMATE, STALEMATE, FIFTY_MOVES, ..."""


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


def won_positions(
    ending: str, count: int, defender: chess.engine.SimpleEngine, rng: random.Random
) -> Iterator[chess.Board]:
    """Random positions that the defender gives up as lost."""
    while count:
        board = random_position(ending, rng)
        score = defender.analyse(board, VERDICT)["score"].white()
        if score.score(mate_score=100_000) >= WON_CENTIPAWNS:
            count -= 1
            yield board


def play(
    board: chess.Board,
    attacker: chess.engine.SimpleEngine,
    defender: chess.engine.SimpleEngine,
    limit: chess.engine.Limit,
) -> Result:
    """Play `board` out; the attacker has White."""
    start, game = board.fen(), object()
    while (outcome := _outcome(board)) is None:
        engine, how_long = (attacker, limit) if board.turn == chess.WHITE else (defender, DEFENCE)
        move = engine.play(board, how_long, game=game).move
        if move is None:
            raise EndingsError(f"an engine gave up in {board.fen()}")
        board.push(move)
    return Result(start, outcome.winner == chess.WHITE, board.ply(), outcome.termination.name)


def _outcome(board: chess.Board) -> chess.Outcome | None:
    """The end of the game, if it is one: draws by rule need no claim, and none is taken before it stands."""
    drawn = board.is_repetition(3) or board.halfmove_clock >= 100
    return board.outcome(claim_draw=drawn)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--defender", metavar="CMD", required=True, help="a UCI engine that knows the endings")
    parser.add_argument("--engine", metavar="CMD", help="the attacker (this Python with -m dejavu.engine)")
    parser.add_argument("--endings", nargs="+", default=["KQvK", "KRvK", "KPvK"], metavar="ENDING")
    parser.add_argument("--games", type=positive, default=50, help="games of each ending (50)")
    parser.add_argument("--movetime", type=positive, default=100, metavar="MS", help="the attacker's time a move (100)")
    parser.add_argument(
        "--option", dest="options", type=option, action="append", default=[], metavar="NAME=VALUE", help="UCI option"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every game there")
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> None:
    """Play and report; EndingsError says what prevents it."""
    for ending in arguments.endings:
        sides = ending.split("v")
        if len(sides) != 2 or any(side[:1] != "K" or set(side[1:]) - set("QRBNP") for side in sides):
            raise EndingsError(f"'{ending}' is not an ending such as KQvK")
    command = shlex.split(arguments.engine) if arguments.engine else [sys.executable, "-m", "dejavu.engine"]
    attacker = open_engine(command)
    defender = open_engine(shlex.split(arguments.defender))
    limit = chess.engine.Limit(time=arguments.movetime / 1000)
    results: dict[str, list[Result]] = {}
    with attacker, defender:
        attacker.configure(options_of(arguments.options))
        for ending in arguments.endings:
            boards = won_positions(ending, arguments.games, defender, random.Random(f"{ending} {arguments.seed}"))
            games = (play(board, attacker, defender, limit) for board in boards)
            results[ending] = list(tqdm(games, total=arguments.games, desc=ending, file=sys.stderr))
            show(ending, results[ending])
    if arguments.json is not None:
        figures = {ending: [asdict(result) for result in played] for ending, played in results.items()}
        write_text(arguments.json, json.dumps(figures, indent=1) + "\n")


def open_engine(command: Sequence[str]) -> chess.engine.SimpleEngine:
    """Raises EndingsError where the command is no UCI engine."""
    try:
        return chess.engine.SimpleEngine.popen_uci(list(command), timeout=START_SECONDS)
    except (OSError, chess.engine.EngineError, TimeoutError) as error:
        raise EndingsError(f"cannot start '{shlex.join(command)}': {error or type(error).__name__}") from None


def show(ending: str, results: Sequence[Result]) -> None:
    """One line for the ending, one more for each game that was not won."""
    won = [result.plies for result in results if result.won]
    moves = f", {sum(won) / len(won) / 2:.1f} moves on average, at most {(max(won) + 1) // 2}" if won else ""
    print(f"{ending}: {len(won)} of {len(results)} won{moves}")
    for result in results:
        if not result.won:
            print(f"    {result.ending} after {result.plies} plies: {result.start}")


def main() -> None:
    """Run the command line."""
    with one_sentence("endings", EndingsError, chess.engine.EngineError, OSError):
        run(parse_arguments())


if __name__ == "__main__":
    main()
