"""Measure the anchors of UCI_Elo: each way to play in engine/search/strength.py in a match against Stockfish.

Every anchor plays Stockfish at the UCI_Elo nearest to its own, and the table tells which Elo its score stands for.
Write those numbers into `ANCHORS`; where they are more than 200 apart from the old ones, measure again. Started again
with the same settings, the script plays only the games that are missing.
"""

import argparse
import logging
import signal
from pathlib import Path

from command_line.arguments import OPENINGS, Options, option, positive
from command_line.exit import GOES_ON, one_sentence
from command_line.talk import complain_as, tell

from dejavu.engine.match.anchors import TABLE_HEAD, AnchorsRun, measure_anchors, row
from dejavu.engine.match.openings import OpeningError
from dejavu.engine.match.players import PlayerError
from dejavu.engine.match.record import RecordError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--games", type=positive, default=40, help="games an anchor (40)")
    add("--opponent-nodes", type=positive, default=30000, help="Stockfish's nodes a move (30000)")
    add("--concurrency", type=positive, default=2, help="games played at the same time (2)")
    add("--out", type=Path, default=Path("runs/strength"), help="folder (runs/strength)")
    add(
        "--option",
        dest="options",
        type=option,
        action=Options,
        default={},
        metavar="NAME=VALUE",
        help="option for Dejavu",
    )
    arguments = vars(parser.parse_args())
    run = AnchorsRun(OPENINGS, **arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # What python-chess and asyncio would log is either harmless or reported as a failure.
    logging.disable()
    rows = [TABLE_HEAD]
    with one_sentence("calibrate", PlayerError, OpeningError, RecordError, OSError, stopped=GOES_ON):
        for anchor, found in measure_anchors(run, tell, complain_as("calibrate")):
            rows.append(row(anchor, found))
            tell("\n" + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
