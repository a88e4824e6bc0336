"""Does the engine win what is won? It plays out elementary endings from random positions against a UCI defender.

    python scripts/endings.py --defender stockfish
    python scripts/endings.py --defender stockfish --endings KQvK KRvK --games 50 --movetime 100 --json runs/won.json

A position counts as won where the defender's own search says so: it must know these endings. A game that
is not won within the rules (mate before the fifty-move rule, repetition, stalemate) counts as failed, and its
position is printed.
"""

import argparse
from pathlib import Path
from typing import Any

from command_line.arguments import Options, option, positive
from command_line.exit import one_sentence
from command_line.talk import tell, write_json
from command_line.teacher import program

from dejavu.engine.match.external import ENGINE_ERRORS
from dejavu.engine.match.won_endings import EndingsError, EndingsRun, play_endings


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what is not given is as EndingsRun has it
    )
    add = parser.add_argument
    add("--defender", metavar="CMD", required=True, help="a UCI engine that knows the endings")
    attacker = "the attacker (this Python with -m dejavu.engine)"
    add("--engine", dest="attacker", metavar="CMD", help=attacker)
    add("--endings", nargs="+", metavar="ENDING", help="KQvK KRvK KPvK")
    add("--games", type=positive, help="games of each ending (50)")
    add("--movetime", type=positive, metavar="MS", help="the attacker's time a move (100)")
    add("--option", dest="options", type=option, action=Options, metavar="NAME=VALUE", help="UCI option")
    add("--seed", type=int, help="0")
    add("--json", type=Path, default=None, metavar="FILE", help="write every game there")
    arguments = vars(parser.parse_args())
    path, games = arguments.pop("json"), dict[str, Any]()
    with one_sentence("endings", EndingsError, *ENGINE_ERRORS, OSError):
        arguments |= {name: program(arguments[name]) for name in ("defender", "attacker") if name in arguments}
        for report in play_endings(EndingsRun(**arguments)):
            tell(str(report))
            games[report.ending] = report.as_json()
        write_json(path, games)


if __name__ == "__main__":
    main()
