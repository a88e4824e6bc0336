"""Measure the anchors of UCI_Elo: each way to play in engine/strength.py in a match against Stockfish.

Every anchor plays Stockfish at the UCI_Elo nearest to its own, and the table tells which Elo its score stands for.
Write those numbers into `ANCHORS`; where they are more than 200 apart from the old ones, measure again. Started again
with the same settings, the script plays only the games that are missing.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import gauntlet

from dejavu.engine.strength import ANCHORS, Strength

STOCKFISH_WEAKEST, STOCKFISH_STRONGEST = 1350, 2850
"""The range of Stockfish 15.1's UCI_Elo."""


def opponent_elo(anchor: Strength) -> int:
    """The UCI_Elo to measure an anchor against."""
    return min(max(anchor.elo, STOCKFISH_WEAKEST), STOCKFISH_STRONGEST)


def arguments_of(anchor: Strength, args: argparse.Namespace) -> list[str]:
    """The arguments of `gauntlet.py` for the match of one anchor."""
    elo = opponent_elo(anchor)
    options = ["Threads=1", f"Temperature={anchor.temperature:g}", *args.option]
    return [
        *("--nodes", str(anchor.nodes), "--opponent-nodes", str(args.opponent_nodes), "--elo", str(elo)),
        *("--games", str(args.games), "--concurrency", str(args.concurrency)),
        *("--out", str(folder(anchor, args.out))),
        *(word for option in options for word in ("--option", option)),
    ]


def folder(anchor: Strength, out: Path) -> Path:
    """Where the match of an anchor lies."""
    return out / f"{anchor.nodes}-nodes-temperature-{anchor.temperature:g}-against-{opponent_elo(anchor)}"


def row(anchor: Strength, games: Sequence[gauntlet.Game]) -> str:
    """A line of the table: the way to play, the match, and the Elo it stands for with its 95 % interval."""
    score = sum(game.points for game in games) / len(games)
    elo = opponent_elo(anchor)
    measured, low, high = (
        gauntlet.elo_difference(share) for share in (score, *gauntlet.score_interval(score, len(games)))
    )
    words = [f"{elo + number:.0f}" if math.isfinite(number) else "beyond" for number in (measured, low, high)]
    return (
        f"| {anchor.nodes} | {anchor.temperature:g} | {elo} | {gauntlet.record(games)} | {100 * score:.0f} % |"
        f" {words[0]} ({words[1]} to {words[2]}) |"
    )


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=gauntlet.positive, default=40, help="games an anchor (40)")
    parser.add_argument(
        "--opponent-nodes", type=gauntlet.positive, default=30000, help="Stockfish's nodes a move (30000)"
    )
    parser.add_argument("--concurrency", type=gauntlet.positive, default=2, help="games played at the same time (2)")
    parser.add_argument("--out", type=Path, default=Path("runs/strength"), help="folder (runs/strength)")
    parser.add_argument(
        "--option", type=gauntlet.option, action="append", default=[], metavar="NAME=VALUE", help="option for Dejavu"
    )
    return parser.parse_args()


def main() -> int:
    """Run the command line; exit status 0 when every match has been played."""
    args = parse_arguments()
    rows = ["| nodes | temperature | Stockfish's UCI_Elo | won-drawn-lost | score | Elo (95 %) |", "|" + "---|" * 6]
    for anchor in ANCHORS:
        status = gauntlet.main(arguments_of(anchor, args))
        if status != 0:
            return status
        games = gauntlet.finished_games(gauntlet.parse_arguments(arguments_of(anchor, args)))
        rows.append(row(anchor, games))
        print("\n" + "\n".join(rows) + "\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
