"""Find the positions this engine is likeliest to meet after known openings, and let a stronger engine label them.

    python scripts/explore.py --openings openings.tsv --engine stockfish --nodes 5000 --positions 100000 \\
        --out runs/explored.pgn
    python scripts/explore.py --data runs/data.safetensors --source tcec --engine stockfish --nodes 20000 \\
        --positions 30000 --out runs/tournament.pgn

A memory pays where it is met. So positions are explored in the order of the chance that a game reaches them: each
opening is as likely as another, and after its end a move is the teacher's choice half of the time, and as likely as the
network finds it for the rest. This chance flows from a position to those after it; the likeliest without a label comes
next.

The output is PGN in the Lichess convention: a game for every line that was explored to its end, `[%eval x]` after every
move, and the line that the teacher expects as a variation beside it. `prepare_data.py` and `remember.py` read it.
Labels are kept beside the output (.labels) as they are made; started again with the same arguments, the script goes
on from there.
"""

import argparse
from pathlib import Path

from command_line.arguments import positive, share
from command_line.exit import GOES_ON, one_sentence
from command_line.teacher import add_teacher_arguments, teacher_settings

from dejavu.engine.annotation.explore import ExploreRun, explore
from dejavu.engine.annotation.game_openings import game_openings
from dejavu.engine.annotation.output import OutputError
from dejavu.engine.annotation.teacher import TEACHER_ERRORS
from dejavu.engine.loader import wanted
from dejavu.engine.match.openings import OpeningError, read_openings
from dejavu.engine.match.players import PlayerError
from dejavu.engine.options import Config
from dejavu.model.data.dataset import DatasetError
from dejavu.model.weights import WeightsError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what is not given is as ExploreRun has it
    )
    add, shipped = parser.add_argument, wanted(Config())
    begin = parser.add_mutually_exclusive_group(required=True)
    begin.add_argument("--openings", type=Path, help="EPD, PGN, or TSV file (ECO, name, moves)")
    begin.add_argument("--data", type=Path, help="data set of scripts/prepare_data.py: its games that are not held out")
    add("--source", help="with --data: only game files with this in their name")
    add("--plies", type=positive, help="with --data: how many begin each game (12)")
    add_teacher_arguments(parser)
    add("--positions", type=positive, help="positions to label (100000)")
    add("--trust", type=share, help="how often the teacher's move is played (0.5)")
    add("--weights", type=Path, default=shipped.weights, help="default: the shipped ones")
    add("--out", type=Path, required=True, help="PGN file to write")
    arguments = vars(parser.parse_args())
    of_games = {name: arguments.pop(name) for name in ("data", "source", "plies") if name in arguments}
    if of_games and "data" not in of_games:
        parser.error("--source and --plies go with --data")
    errors = (WeightsError, OpeningError, DatasetError, OutputError, PlayerError, *TEACHER_ERRORS)
    with one_sentence("explore", *errors, stopped=GOES_ON):
        openings = game_openings(**of_games) if of_games else read_openings(arguments.pop("openings"))
        print(explore(ExploreRun(openings, teacher=teacher_settings(arguments), **arguments)))


if __name__ == "__main__":
    main()
