"""How many positions of a suite engines solve; settings of the search compared, far cheaper than by games.

    python scripts/solve.py
    python scripts/solve.py wac.epd --each movetime=1000 option.UseMemory=false --json runs/wac.json
    python scripts/solve.py wac.epd --batched 32 --each nodes=400 --engine name=usual --engine name=wide option.CPuct=3
    python scripts/solve.py --data runs/data.safetensors --source teacher --batched 32 --each nodes=100 \\
        --engine name=usual --engine name=flat option.PolicyTemperature=2

A suite is an EPD file, a position a line, with the moves to find (bm, any of them counts) or to avoid (am), and a
name (id). Without FILE it is this repository's forced mates: dm says in how many moves, and bm holds all the moves
that force it. Suites of tactics, such as Win At Chess, are not part of this repository: bring your own copy. With
--data, positions come from held-out games of a data set, and the best move is the teacher's.

Engines are described as in match.py; without --engine it is this Dejavu, without a limit at 800 nodes. Each is a
process of its own, unless --batched: then all are this Dejavu at fixed nodes in this process, and share the network's
answers. All face the same positions, so that the difference to the first engine, told with its standard error, is much
surer than the shares themselves. What finds more best moves need not win more games: let match.py confirm it.
"""

import argparse
from pathlib import Path

from command_line.arguments import MATES, positive
from command_line.exit import one_sentence
from command_line.players import limited_player
from command_line.talk import complain_as, tell, write_json

from dejavu.engine.match.players import PlayerError
from dejavu.engine.match.solve import SolveRun, solve
from dejavu.engine.match.suites import SuiteError, held_out_problems, read_suite
from dejavu.model.data.dataset import DatasetError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, complain = parser.add_argument, complain_as("solve")
    add("file", type=Path, nargs="?", default=MATES, metavar="FILE", help="EPD file (forced mates)")
    add("--data", type=Path, help="data set of scripts/prepare_data.py, instead")
    add("--source", help="with --data: only game files with this in their name")
    add("--positions", type=positive, default=1024, help="with --data: how many (1024)")
    add("--seed", type=int, default=1, help="with --data: draws them (1)")
    engine = "an engine: name, cmd, args, st (seconds), movetime (ms), nodes, depth, option.NAME"
    add("--engine", nargs="+", action="append", metavar="KEY=VALUE", help=engine)
    add("--each", nargs="+", default=[], metavar="KEY=VALUE", help="the same for every engine")
    add("--batched", type=positive, metavar="N", help="N positions at once in this process")
    add("--json", type=Path, metavar="FILE", help="write the figures and every answer there")
    arguments = parser.parse_args()
    with one_sentence("solve", DatasetError, PlayerError, SuiteError, OSError):
        players = [limited_player(words, arguments.each, nodes=800) for words in arguments.engine or [[]]]
        complaints: list[str] = []
        if arguments.data is not None:
            problems = held_out_problems(arguments.data, arguments.source, arguments.positions, arguments.seed)
        else:
            problems, complaints = read_suite(arguments.file)
        for complaint in complaints:
            complain(f"{complaint}; left out")
        if not problems:
            raise SuiteError(f"{arguments.data or arguments.file} holds no position that can be used")
        report = solve(SolveRun(problems, players, arguments.batched), complain)
        tell(str(report))
        write_json(arguments.json, {"left_out": complaints, "engines": report.as_json()})


if __name__ == "__main__":
    main()
