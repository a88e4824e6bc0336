"""Does it lose twice the same way? The same openings, round after round, with learning and without.

    python scripts/never_twice.py --opponent cmd=stockfish nodes=2000 --run runs/never_twice
    python scripts/never_twice.py --opponent cmd=lc0 args=--weights=maia-1900.pb.gz nodes=50 --count 10 --rounds 3

An opponent at fixed nodes repeats itself, one of limited strength (option.UCI_LimitStrength=true option.UCI_Elo=1800)
does not. Every game is on the disk once it is over: the same command goes on where it was stopped. At the end the score
of each round with its interval, and what became of the games lost in the first; report.json and rounds.png are in the
run folder.
"""

import argparse
import logging
import signal
from pathlib import Path

from command_line.arguments import add_openings_argument, positive
from command_line.exit import GOES_ON, need_matplotlib, one_sentence
from command_line.talk import complain_as, tell

from dejavu.engine.match.adjudication import Rules
from dejavu.engine.match.never_twice import NeverTwiceRun, play
from dejavu.engine.match.players import parse_player
from dejavu.engine.match.run import MATCH_ERRORS
from dejavu.engine.match.words import draw_rule, resign_rule


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    opponent = "name, cmd, args, tc, st, movetime, nodes, depth, option.NAME, as for match.py"
    add("--opponent", nargs="+", required=True, metavar="KEY=VALUE", help=opponent)
    add("--nodes", type=positive, default=200, help="a move of Dejavu's; it learns from 200 on (200)")
    add_openings_argument(parser)
    add("--count", type=positive, default=30, help="openings, each with both colours in every round (30)")
    add("--rounds", type=positive, default=5, help="5")
    add("--seed", type=int, default=1, help="draws the openings (1)")
    add("--concurrency", type=positive, default=1, help="games at the same time (1)")
    add("--draw", nargs="*", metavar="KEY=VALUE", help="draw adjudication: movenumber, movecount, score")
    add("--resign", nargs="*", metavar="KEY=VALUE", help="resignation: movecount, score, twosided")
    add("--run", type=Path, default=Path("runs/never_twice"), help="folder (runs/never_twice)")
    args = parser.parse_args()
    need_matplotlib("never_twice.py")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.disable()
    with one_sentence("never_twice", *MATCH_ERRORS, OSError, stopped=GOES_ON):
        run = NeverTwiceRun(
            opponent=parse_player(args.opponent),
            openings=args.openings,
            folder=args.run,
            rules=Rules(draw_rule(args.draw), resign_rule(args.resign)),
            **{name: getattr(args, name) for name in ("nodes", "count", "rounds", "seed", "concurrency")},
        )
        tell(f"\n{play(run, tell, complain_as('never_twice'))}\nwrote {run.folder / 'rounds.png'}")


if __name__ == "__main__":
    main()
