"""Let a UCI engine, the teacher, label every position of games: its own, begun at random openings, or given ones.

    python scripts/annotate.py --engine stockfish --games 1000 --nodes 1200 --out runs/own.pgn
    python scripts/annotate.py --engine stockfish games.pgn.zst more.pgn --nodes 1200 --out runs/labelled.pgn

The output is PGN in the Lichess convention, which prepare_data.py reads: `[%eval x]` after every move, and the
teacher's move as a variation beside a move that is another. Of given games only the moves played and the headers are
kept. Started again with the same arguments, the script goes on after the games that are whole in the output.
"""

import argparse
import signal
from pathlib import Path

from command_line.arguments import add_openings_argument, game_file, positive, share, span
from command_line.exit import GOES_ON, one_sentence
from command_line.teacher import add_teacher_arguments, teacher_settings

from dejavu.engine.annotation.annotate import AnnotateRun, annotate
from dejavu.engine.annotation.output import OutputError
from dejavu.engine.annotation.workers import WorkerError
from dejavu.engine.match.openings import OpeningError
from dejavu.engine.match.players import PlayerError
from dejavu.model.data.game_files import GameFileError

ERRORS = (WorkerError, OutputError, OpeningError, PlayerError, GameFileError, OSError, EOFError)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what is not given is as AnnotateRun has it
    )
    given = "games to label, plain or .zst, .bz2, .gz"
    parser.add_argument("given", nargs="*", type=game_file, default=[], metavar="PGN", help=given)
    add_teacher_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="PGN file to write or to go on with")
    own = parser.add_argument_group("games of the teacher's own, where no PGN is given")
    own.add_argument("--games", type=positive, default=0, help="games of the whole file")
    own.add_argument("--seed", type=int, help="changes the random moves (1)")
    add_openings_argument(own)
    own.add_argument("--random-plies", type=span, metavar="LOW-HIGH", help="at the start (0-6)")
    own.add_argument("--random-moves", type=share, help="share of random moves after that (0.1)")
    own.add_argument("--plies", type=positive, help="length at which a game stops without a result (200)")
    arguments = vars(parser.parse_args())
    if bool(arguments["games"]) == bool(arguments["given"]):
        parser.error("either name PGN files or say how many --games")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with one_sentence("annotate", *ERRORS, stopped=GOES_ON):
        annotate(AnnotateRun(teacher=teacher_settings(arguments), **arguments))


if __name__ == "__main__":
    main()
