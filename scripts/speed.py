"""Nodes a second of engines, in turns: how many more one searches than another in the same time.

    python scripts/speed.py --engine name=with --engine name=without option.UseMemory=false
    python scripts/speed.py --each option.Threads=1 --engine name=dejavu --engine cmd=lc0 args=--weights=NET nodes=400
    taskset -c 0 python scripts/speed.py (the same)

Each engine, described as in match.py, searches the positions of `bench`, 400 nodes each unless it has another limit,
and then the next one does; the medians of the turns are told beside the first engine's. Some engines take more than one
core with one thread: on Linux `taskset -c 0` holds all of them to one.
"""

import argparse
from pathlib import Path

from command_line.arguments import positive
from command_line.exit import one_sentence
from command_line.players import limited_player
from command_line.talk import complain_as, tell, write_json

from dejavu.engine.match.players import PlayerError
from dejavu.engine.match.speed import SpeedRun, measure_speed
from dejavu.engine.search.bench import POSITIONS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    engine = "an engine: name, cmd, args, st (seconds), movetime (ms), nodes, depth, option.NAME"
    add("--engine", nargs="+", action="append", required=True, metavar="KEY=VALUE", help=engine)
    add("--each", nargs="+", default=[], metavar="KEY=VALUE", help="the same for every engine")
    add(
        "--turns", type=positive, default=SpeedRun.turns, help=f"that count ({SpeedRun.turns}), after one that does not"
    )
    add("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    with one_sentence("speed", PlayerError, OSError):
        players = [limited_player(words, arguments.each, nodes=400) for words in arguments.engine]
        report = measure_speed(SpeedRun(POSITIONS, players, arguments.turns), complain_as("speed"))
        tell(str(report))
        write_json(arguments.json, report.as_json())


if __name__ == "__main__":
    main()
