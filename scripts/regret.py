"""What the moves of engines cost, by the word of a stronger engine: settings and nets compared without games.

    python scripts/regret.py --data runs/data.safetensors --source teacher --positions 4000 --judge stockfish \\
        --judge-nodes 20000 --run runs/regret --batched 64 --each nodes=400 \\
        --engine name=usual --engine name=wide option.CPuct=3

Held-out positions of a data set are searched by all engines. Where their moves differ, the judge evaluates the position
after each; Q is the judge's chance of a win less that of a loss. Told is how much Q a move is worth more than the first
engine's, in thousandths, with its standard error. As a yardstick: from 100 to 200 nodes dejavu-5's rose by 8.

Engines are described as in match.py; without --batched each is a process of its own. The moves and the judge's words
are kept in --run; started again with the same arguments, the script goes on from there. What plays better moves need
not win more games: let match.py confirm it.
"""

import argparse
from pathlib import Path

from command_line.arguments import positive
from command_line.exit import GOES_ON, one_sentence
from command_line.talk import complain_as, tell, write_json
from command_line.teacher import program

from dejavu.engine.annotation.output import OutputError
from dejavu.engine.annotation.regret import RegretRun, regret
from dejavu.engine.annotation.teacher import TEACHER_ERRORS, TeacherSettings
from dejavu.engine.match.players import PlayerError, parse_player
from dejavu.engine.match.suites import SuiteError, held_out_problems
from dejavu.model.data.dataset import DatasetError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="data set of scripts/prepare_data.py")
    add("--source", help="only game files with this in their name")
    add("--positions", type=positive, default=2000, help="how many (2000)")
    add("--seed", type=int, default=1, help="draws them (1)")
    engine = "an engine: name, cmd, args, st (seconds), movetime (ms), nodes, depth, option.NAME"
    add("--engine", nargs="+", action="append", required=True, metavar="KEY=VALUE", help=engine)
    add("--each", nargs="+", default=[], metavar="KEY=VALUE", help="the same for every engine")
    add("--batched", type=positive, metavar="N", help="N positions at once in this process, for option sets of Dejavu")
    add("--judge", required=True, metavar="CMD", help="the judge's command")
    add("--judge-nodes", type=positive, default=20_000, metavar="N", help="its nodes a position (20000)")
    add("--run", type=Path, required=True, help="folder that keeps what was done")
    add("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    errors = (DatasetError, OutputError, PlayerError, SuiteError, *TEACHER_ERRORS)
    with one_sentence("regret", *errors, stopped=GOES_ON):
        report = regret(
            RegretRun(
                held_out_problems(arguments.data, arguments.source, arguments.positions, arguments.seed),
                [parse_player(words, arguments.each) for words in arguments.engine],
                TeacherSettings(program(arguments.judge), {}, arguments.judge_nodes, None, patience=60),
                arguments.run,
                arguments.batched,
            ),
            complain_as("regret"),
        )
        tell(str(report))
        write_json(arguments.json, report.as_json())


if __name__ == "__main__":
    main()
