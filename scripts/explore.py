"""Find the positions this engine is likeliest to meet after known openings, and let a stronger engine label them.

    python scripts/explore.py --openings openings.tsv --engine stockfish --nodes 5000 --positions 100000 \\
        --out runs/explored.pgn

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
from dejavu.engine.annotation.output import OutputError
from dejavu.engine.annotation.teacher import TEACHER_ERRORS
from dejavu.engine.loader import wanted
from dejavu.engine.match.openings import OpeningError
from dejavu.engine.match.players import PlayerError
from dejavu.engine.options import Config
from dejavu.model.weights import WeightsError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what is not given is as ExploreRun has it
    )
    add, shipped = parser.add_argument, wanted(Config())
    add("--openings", type=Path, required=True, help="EPD, PGN, or TSV file (ECO, name, moves)")
    add_teacher_arguments(parser)
    add("--positions", type=positive, help="positions to label (100000)")
    add("--trust", type=share, help="how often the teacher's move is played (0.5)")
    add("--weights", type=Path, default=shipped.weights, help="default: the shipped ones")
    add("--out", type=Path, required=True, help="PGN file to write")
    arguments = vars(parser.parse_args())
    errors = (WeightsError, OpeningError, OutputError, PlayerError, *TEACHER_ERRORS)
    with one_sentence("explore", *errors, stopped=GOES_ON):
        print(explore(ExploreRun(teacher=teacher_settings(arguments), **arguments)))


if __name__ == "__main__":
    main()
