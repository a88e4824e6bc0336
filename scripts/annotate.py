"""Let a UCI engine, the teacher, judge every position of games: its own, begun at random openings, or given ones.

    python scripts/annotate.py --engine stockfish --games 1000 --nodes 1200 --out runs/own.pgn
    python scripts/annotate.py --engine stockfish games.pgn.zst more.pgn --nodes 1200 --out runs/labelled.pgn

The output is PGN in the Lichess convention, which prepare_data.py reads: `[%eval x]` after every move, and the
teacher's move as a variation beside a move that is another. Of given games only the moves played and the headers are
kept. Started again with the same arguments, the script goes on after the games that are whole in the output.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random

from annotation.games import OwnGames, Task
from annotation.output import OutputError, Totals, games_done
from annotation.teacher import add_teacher_arguments, teacher_settings
from annotation.workers import WorkerError, answers, workers
from command_line.arguments import add_openings_argument, game_file, positive, share, span
from command_line.ending import GOES_ON, one_sentence
from tqdm import tqdm

from dejavu.engine.match.openings import OpeningError, read_openings
from dejavu.engine.match.players import PlayerError
from dejavu.model.data.game_files import GameFileError, read_games
from dejavu.retrieval.atomic import append


def tasks_left(args: argparse.Namespace, done: set[str]) -> Iterator[Task]:
    """The games that are not in the output yet."""
    for number in map(str, range(1, args.games + 1)):
        if number not in done:
            yield Task(number)
    for path in args.given:
        for index, text in enumerate(read_games(path), 1):
            if (where := f"{path}, game {index}") not in done:
                yield Task(where, text)


def run(args: argparse.Namespace) -> None:
    """Do what is left of the work and sum it up."""
    openings = read_openings(args.openings) if args.games else []
    # A sorted table would otherwise give a few games nothing but its first letters.
    Random(args.seed).shuffle(openings)
    own = OwnGames(tuple(openings), args.seed, args.random_plies, args.random_moves, args.plies)
    settings = teacher_settings(args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with workers(args.processes, settings, own) as (connections, teacher):
        done = games_done(args.out, teacher, args.seed)
        totals = Totals()
        try:
            with tqdm(unit=" positions", unit_scale=True, smoothing=0.05) as progress:
                for answered in answers(tasks_left(args, done), connections):
                    if answered.text:
                        append(args.out, answered.text.encode())
                        progress.update(answered.positions)
                    totals.add(answered)  # a game counts once it is on the disk
        finally:
            totals.print()
            print(f"{args.out} holds {len(done) + totals.results.total():,} games, {len(done):,} from before")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "given", nargs="*", type=game_file, metavar="PGN", help="games to label, plain or .zst, .bz2, .gz"
    )
    add_teacher_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="PGN file to write or to go on with")
    parser.add_argument("--processes", type=positive, default=os.cpu_count() or 1, help="one teacher each (CPUs)")
    own = parser.add_argument_group("games of the teacher's own, where no PGN is given")
    own.add_argument("--games", type=positive, help="games of the whole file")
    own.add_argument("--seed", type=int, default=1, help="changes the random moves (1)")
    add_openings_argument(own)
    own.add_argument("--random-plies", type=span, default=(0, 6), metavar="LOW-HIGH", help="at the start (0-6)")
    own.add_argument("--random-moves", type=share, default=0.1, help="share of random moves after that (0.1)")
    own.add_argument("--plies", type=positive, default=200, help="length at which a game stops without a result (200)")
    args = parser.parse_args()
    if bool(args.games) == bool(args.given):
        parser.error("either name PGN files or say how many --games")
    args.games = args.games or 0
    return args


def main() -> None:
    args = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with one_sentence(
        "annotate",
        WorkerError,
        OutputError,
        OpeningError,
        PlayerError,
        GameFileError,
        OSError,
        EOFError,
        stopped=GOES_ON,
    ):
        run(args)


if __name__ == "__main__":
    main()
