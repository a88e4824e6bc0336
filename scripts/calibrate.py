"""Measure the anchors of UCI_Elo: each way to play in engine/search/strength.py in a match against Stockfish.

Every anchor plays Stockfish at the UCI_Elo nearest to its own, and the table tells which Elo its score stands for.
Write those numbers into `ANCHORS`; where they are more than 200 apart from the old ones, measure again. Started again
with the same settings, the script plays only the games that are missing.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import signal
import sys
from pathlib import Path

from command_line.arguments import OPENINGS, option, positive
from command_line.ending import GOES_ON, one_sentence

from dejavu.engine.match.openings import Opening, OpeningError, read_openings
from dejavu.engine.match.players import PlayerError, parse_player
from dejavu.engine.match.record import PlayedGame, Record, RecordError, results
from dejavu.engine.match.report import full_report, score_line
from dejavu.engine.match.schedule import schedule
from dejavu.engine.match.statistics import Results, elo_difference, score_interval
from dejavu.engine.match.tournament import Tournament, check_players, run
from dejavu.engine.search.strength import ANCHORS, Strength

STOCKFISH_WEAKEST, STOCKFISH_STRONGEST = 1350, 2850
"""The range of Stockfish 15.1's UCI_Elo."""


def opponent_elo(anchor: Strength) -> int:
    """The UCI_Elo to measure an anchor against."""
    return min(max(anchor.elo, STOCKFISH_WEAKEST), STOCKFISH_STRONGEST)


def tournament_of(anchor: Strength, openings: list[Opening], args: argparse.Namespace) -> Tournament:
    """The match of one anchor. Raises PlayerError."""
    elo = opponent_elo(anchor)
    options = ["Threads=1", f"Temperature={anchor.temperature:g}", *args.option]
    players = [
        parse_player(["name=Dejavu", f"nodes={anchor.nodes}", *(f"option.{text}" for text in options)]),
        parse_player(
            [f"name=Stockfish {elo}", "cmd=stockfish", f"nodes={args.opponent_nodes}"],
            ["option.UCI_LimitStrength=true", f"option.UCI_Elo={elo}"],
        ),
    ]
    names = [player.name for player in players]
    return Tournament(
        event=f"{anchor.nodes} nodes, temperature {anchor.temperature:g}, against {elo}",
        players=dict(zip(names, players, strict=True)),
        games=schedule(names, openings, args.games, gauntlet=False, seed=None),
        concurrency=args.concurrency,
    )


def pgn_of(anchor: Strength, out: Path) -> Path:
    """Where the games of an anchor lie."""
    return out / f"{anchor.nodes}-nodes-temperature-{anchor.temperature:g}-against-{opponent_elo(anchor)}.pgn"


def play(tournament: Tournament, pgn: Path) -> Results:
    """Play what is missing of a match; what the first player achieved. Raises PlayerError and RecordError."""
    record, names = Record(pgn, tournament.event), list(tournament.players)

    def finished(game: PlayedGame) -> None:
        found = score_line(results(record.games, names[0], names[1:]), None)
        print(f"{len(record.games):>4}/{len(tournament.games)}  {game.result}  {game.reason}  |  {found}", flush=True)

    if tournament.missing(record):
        asyncio.run(check_players(tournament.players))
        asyncio.run(run(tournament, record, finished, complain))
    print(f"\n{full_report(record.games, names, tournament.event, None)}", flush=True)
    return results(record.games, names[0], names[1:])


def complain(text: str) -> None:
    """Pass on what an engine says."""
    print(f"calibrate: {text}", file=sys.stderr, flush=True)


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


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=positive, default=40, help="games an anchor (40)")
    parser.add_argument("--opponent-nodes", type=positive, default=30000, help="Stockfish's nodes a move (30000)")
    parser.add_argument("--concurrency", type=positive, default=2, help="games played at the same time (2)")
    parser.add_argument("--out", type=Path, default=Path("runs/strength"), help="folder (runs/strength)")
    parser.add_argument(
        "--option", type=option, action="append", default=[], metavar="NAME=VALUE", help="option for Dejavu"
    )
    return parser.parse_args()


def main() -> None:
    """Run the command line."""
    args = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # What python-chess and asyncio would log is either harmless or reported as a failure.
    logging.disable()
    rows = ["| nodes | temperature | Stockfish's UCI_Elo | won-drawn-lost | score | Elo (95 %) |", "|" + "---|" * 6]
    with one_sentence("calibrate", PlayerError, OpeningError, RecordError, OSError, stopped=GOES_ON):
        openings = read_openings(OPENINGS)
        for anchor in ANCHORS:
            rows.append(row(anchor, play(tournament_of(anchor, openings, args), pgn_of(anchor, args.out))))
            print("\n" + "\n".join(rows) + "\n", flush=True)


if __name__ == "__main__":
    main()
