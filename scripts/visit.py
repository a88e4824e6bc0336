"""Let a stronger engine label the positions that this engine's searches look at, to train on them.

    python scripts/visit.py --data runs/data.safetensors --sources teacher tcec --engine stockfish --nodes 1200 \\
        --positions 200000 --out runs/visited.pgn
    python scripts/prepare_data.py runs/visited.pgn --out runs/visited.safetensors
    python scripts/train.py backbone --data runs/data.safetensors runs/visited.safetensors \\
        --sources teacher=2,tcec=1,visited=1.5 --start-from runs/backbone/weights.safetensors ...

A search tries moves that nobody plays, and sees what no game holds; there the network is wrong more often than in
games. Positions of training games are searched for a few nodes each, and some of every tree are drawn and labelled.
With --draw 0 the positions of the games themselves are, and keep the moves played: for games whose evaluations are of
another scale than the teacher's.

The output is PGN in the Lichess convention, a game of one move a position: its evaluation and the teacher's move.
What was drawn is kept beside the output (.drawn), and so are the labels (.labels); started again with the same
arguments, the script goes on from there.
"""

import argparse
from pathlib import Path

from command_line.arguments import natural, positive
from command_line.exit import GOES_ON, one_sentence
from command_line.teacher import add_teacher_arguments, teacher_settings

from dejavu.engine.annotation.output import OutputError
from dejavu.engine.annotation.teacher import TEACHER_ERRORS
from dejavu.engine.annotation.visit import VisitRun, visit
from dejavu.engine.match.players import PlayerError
from dejavu.model.data.dataset import DatasetError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what is not given is as VisitRun has it
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="data set of scripts/prepare_data.py")
    add("--sources", nargs="+", metavar="NAME", help="search positions of game files with these names")
    add("--held-out", action="store_true", help="of held-out games, to judge by, instead of training games")
    add_teacher_arguments(parser)
    add("--positions", type=positive, help="positions to label (200000)")
    add("--search-nodes", type=positive, metavar="N", help="nodes of each search (64)")
    add("--draw", type=natural, metavar="N", help="positions of each tree (28); 0: the games' own positions and moves")
    add("--at-once", type=positive, metavar="N", help="searches at once (64)")
    add("--seed", type=int, help="1")
    add("--weights", help="default: the shipped ones")
    add("--out", type=Path, required=True, help="PGN file to write")
    arguments = vars(parser.parse_args())
    with one_sentence("visit", DatasetError, PlayerError, OutputError, *TEACHER_ERRORS, stopped=GOES_ON):
        print(visit(VisitRun(teacher=teacher_settings(arguments), **arguments)))


if __name__ == "__main__":
    main()
