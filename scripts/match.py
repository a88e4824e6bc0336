"""Play engines against each other: Dejavu with two option sets, nets or memories, or any UCI engine.

    python scripts/match.py --engine name=new nodes=100 --engine name=old nodes=100 option.UseMemory=false --games 200
    python scripts/match.py --engine tc=10+0.1 --engine cmd=stockfish tc=10+0.1 option.UCI_LimitStrength=true \\
        option.UCI_Elo=1600 --games 100 --concurrency 2 --sprt elo0=0 elo1=10 --pgn runs/match.pgn
    python scripts/match.py --from-pgn runs/match.pgn --sprt elo0=0 elo1=10 model=logistic

An engine without `cmd` is this Dejavu. Every opening is played twice, with colours changed. Every game is on the disk
once it is over: the same command goes on where it was stopped or killed. An engine that crashes, is late, silent or
plays an illegal move loses that game; this is said at once and counted. Elo, LOS and LLR are fastchess's, from pairs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from command_line.arguments import add_openings_argument, positive
from command_line.ending import GOES_ON, one_sentence

from dejavu.engine.match.adjudication import DrawRule, ResignRule, Rules
from dejavu.engine.match.batch import run_batched
from dejavu.engine.match.openings import OpeningError, read_openings
from dejavu.engine.match.players import PlayerError, PlayerSettings, parse_player
from dejavu.engine.match.record import PlayedGame, Record, RecordError, read_games, results
from dejavu.engine.match.report import as_json, full_report, score_line
from dejavu.engine.match.schedule import schedule
from dejavu.engine.match.statistics import Sprt, SprtError
from dejavu.engine.match.tournament import Tournament, check_players, run
from dejavu.retrieval.atomic import write_text

T = TypeVar("T")
STANDING_GAMES = 20
"""In a tournament, the table is shown after so many games."""


class MatchError(ValueError):
    """A command line that makes no match; the message is one sentence."""


class Progress:
    """Says what happens: a line for every game, and the table now and then."""

    def __init__(self, tournament: Tournament, record: Record) -> None:
        self._tournament = tournament
        self._record = record
        self._names = list(tournament.players)
        self._began = time.monotonic()
        self._left = self._total = len(tournament.missing(record))

    def finished(self, game: PlayedGame) -> None:
        self._left -= 1
        if game.failure is not None:
            print(f"match: game {game.round}, {game.white} - {game.black}: {game.reason}", file=sys.stderr, flush=True)
        played = self._total - self._left
        seconds = (time.monotonic() - self._began) / played * self._left
        games = self._record.games
        line = (
            f"{len(games):>4}/{len(self._tournament.games)}  {game.white} - {game.black}  {game.result}  {game.reason}"
        )
        if len(self._names) == 2:
            found = results(games, self._names[0], self._names[1:])
            line += f"  |  {self._names[0]} {score_line(found, self._tournament.sprt)}"
        print(f"{line}  |  {_duration(seconds)} left", flush=True)
        if len(self._names) > 2 and played % STANDING_GAMES == 0:
            print(full_report(games, self._names, "", None), flush=True)


def _duration(seconds: float) -> str:
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def complain(text: str) -> None:
    """Pass on what an engine says."""
    print(f"match: {text}", file=sys.stderr, flush=True)


def words(given: Sequence[str], option: str, kinds: dict[str, Callable[[str], Any]]) -> dict[str, Any]:
    """Read KEY=VALUE words of an option; raises MatchError."""
    found = {}
    for word in given:
        key, equals, value = word.partition("=")
        try:
            if not equals or key not in kinds:
                raise ValueError
            found[key] = kinds[key](value)
        except ValueError as error:
            raise MatchError(f"{option} takes {', '.join(kinds)} as KEY=VALUE, not '{word}'") from error
    return found


def truth(text: str) -> bool:
    """Parse true or false."""
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


def whole(text: str) -> int:
    """Parse a whole number from 0."""
    if not text.isascii() or not text.isdigit():
        raise ValueError
    return int(text)


def rule(
    given: Sequence[str] | None, option: str, kind: Callable[..., T], keys: dict[str, Callable[[str], Any]]
) -> T | None:
    """An adjudication rule or a test from its words; None if the option was not given."""
    return None if given is None else kind(**words(given, option, keys))


def sprt_of(args: argparse.Namespace) -> Sprt | None:
    """The sequential test that was asked for; raises MatchError."""
    if args.sprt is None:
        return None
    numbers: dict[str, Callable[[str], Any]] = dict.fromkeys(("elo0", "elo1", "alpha", "beta"), float)
    found = words(args.sprt, "--sprt", {**numbers, "model": str})
    if "elo0" not in found or "elo1" not in found:
        raise MatchError("--sprt needs elo0=N and elo1=N")
    return Sprt(**found)


def players_of(args: argparse.Namespace) -> dict[str, PlayerSettings]:
    """The engines that were described; raises MatchError and PlayerError."""
    players: dict[str, PlayerSettings] = {}
    for given in args.engine:
        player = parse_player(given, args.each)
        if player.name in players:
            raise MatchError(f"two engines are called {player.name}; give each its name=")
        players[player.name] = player
    if len(players) < 2:
        raise MatchError("a match needs two engines: give --engine twice or more")
    return players


def tournament_of(args: argparse.Namespace) -> Tournament:
    """The match that the command line describes; raises MatchError, PlayerError and OpeningError."""
    players, sprt = players_of(args), sprt_of(args)
    if sprt is not None and len(players) > 2:
        raise MatchError("--sprt is for two engines")
    seed = None if args.order == "sequential" else args.seed
    rules = Rules(
        rule(args.draw, "--draw", DrawRule, {"movenumber": whole, "movecount": count, "score": whole}),
        rule(args.resign, "--resign", ResignRule, {"movecount": count, "score": whole, "twosided": truth}),
        args.maxmoves,
    )
    games = schedule(list(players), read_openings(args.openings), args.games, args.tournament == "gauntlet", seed)
    order = "in order" if seed is None else f"seed {seed}"
    return Tournament(
        event=f"{args.openings.name}, {order}",
        players=players,
        games=games,
        rules=rules,
        sprt=sprt,
        concurrency=args.batched or args.concurrency,
        margin=args.margin / 1000,
        patience=args.patience,
        neighbours=args.neighbours,
    )


def play(args: argparse.Namespace) -> None:
    """Play what is missing of the match, and sum it up."""
    tournament = tournament_of(args)
    record = Record(args.pgn, tournament.event)
    missing = tournament.missing(record)
    if missing and tournament.verdict(record) is None:
        if not args.batched:
            asyncio.run(check_players(tournament.players))
        progress = Progress(tournament, record)
        there = len(tournament.games) - len(missing)
        print(f"{len(missing)} games to play, {there} in {args.pgn}", flush=True)
        try:
            if args.batched:
                run_batched(tournament, record, progress.finished, complain)
            else:
                asyncio.run(run(tournament, record, progress.finished, complain))
        except KeyboardInterrupt:
            sum_up(args, record.games, list(tournament.players), tournament.sprt)
            raise
    sum_up(args, record.games, list(tournament.players), tournament.sprt, conditions(tournament))


def conditions(tournament: Tournament) -> str:
    """What the engines have in common, or one after the other."""
    settings = list(dict.fromkeys(map(str, tournament.players.values())))
    return " - ".join([*settings, tournament.event]) if len(tournament.players) == 2 else tournament.event


def sum_up(
    args: argparse.Namespace, games: Sequence[PlayedGame], names: list[str], sprt: Sprt | None, text: str = ""
) -> None:
    """Print the report, and write it as JSON where that is asked for."""
    print(f"\n{full_report(games, names, text, sprt)}", flush=True)
    if args.json is not None:
        write_text(args.json, json.dumps(as_json(games, names, sprt), indent=1) + "\n")


def from_pgn(args: argparse.Namespace) -> None:
    """Sum up the games of a PGN file."""
    games = read_games(args.from_pgn)
    names = list(dict.fromkeys(name for game in games for name in (game.white, game.black)))
    if len(names) < 2:
        raise MatchError(f"{args.from_pgn} holds no finished games")
    if args.first is not None:
        if args.first not in names:
            raise MatchError(f"{args.first} plays no game of {args.from_pgn}, only {', '.join(names)} do")
        names.sort(key=lambda name: name != args.first)
    sum_up(args, games, names, sprt_of(args))


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--engine",
        nargs="+",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an engine: name, cmd, args, tc (10+0.1, 40/60+1), st (seconds), movetime (ms), nodes, depth, option.NAME",
    )
    parser.add_argument("--each", nargs="+", default=[], metavar="KEY=VALUE", help="the same for every engine")
    parser.add_argument("--games", type=positive, default=100, help="games of each two engines (100)")
    parser.add_argument(
        "--tournament",
        choices=("roundrobin", "gauntlet"),
        default="roundrobin",
        help="all with all, or the first engine with all others",
    )
    add_openings_argument(parser)
    parser.add_argument("--order", choices=("random", "sequential"), default="random", help="of the openings")
    parser.add_argument("--seed", type=int, default=1, help="shuffles the openings (1)")
    parser.add_argument("--concurrency", type=positive, default=1, help="games at the same time (1)")
    parser.add_argument(
        "--batched",
        type=positive,
        metavar="N",
        help="play N games at once in this process: option sets of this Dejavu at fixed nodes",
    )
    parser.add_argument("--margin", type=natural, default=100, help="milliseconds a move may be late (100)")
    parser.add_argument(
        "--patience",
        type=positive,
        default=60,
        help="seconds until a search without a clock that is silent has failed (60)",
    )
    parser.add_argument(
        "--draw", nargs="*", metavar="KEY=VALUE", help="draw adjudication: movenumber, movecount, score"
    )
    parser.add_argument("--resign", nargs="*", metavar="KEY=VALUE", help="resignation: movecount, score, twosided")
    parser.add_argument("--maxmoves", type=positive, help="a game of so many moves is drawn")
    parser.add_argument(
        "--sprt",
        nargs="+",
        metavar="KEY=VALUE",
        help="test that ends the match: elo0, elo1, alpha, beta (0.05), model (normalized or logistic)",
    )
    parser.add_argument("--neighbours", type=positive, default=0, help="note so many neighbours of each Dejavu move")
    parser.add_argument(
        "--pgn", type=Path, default=Path("runs/match.pgn"), help="record to write or to go on with (runs/match.pgn)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here, too")
    parser.add_argument("--from-pgn", type=Path, metavar="FILE", help="play nothing: sum up this file")
    parser.add_argument("--first", metavar="NAME", help="with --from-pgn: whose score is shown")
    args = parser.parse_args()
    if (args.from_pgn is None) == (not args.engine):
        parser.error("either describe each --engine or name a file with --from-pgn")
    return args


def count(text: str) -> int:
    """Parse a whole number from 1."""
    number = whole(text)
    if number == 0:
        raise ValueError
    return number


def natural(text: str) -> int:
    """Parse a whole number from 0."""
    try:
        return whole(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number") from None


def main() -> None:
    args = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # What python-chess and asyncio would log is either harmless or reported as a failure.
    logging.disable()
    with one_sentence("match", MatchError, PlayerError, OpeningError, RecordError, SprtError, OSError, stopped=GOES_ON):
        from_pgn(args) if args.from_pgn is not None else play(args)


if __name__ == "__main__":
    main()
