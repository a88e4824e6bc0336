"""Play engines against each other: Dejavu with two option sets, nets or memories, or any UCI engine.

    python scripts/match.py --engine name=new nodes=100 --engine name=old nodes=100 option.UseMemory=false --games 200
    python scripts/match.py --engine tc=10+0.1 --engine cmd=stockfish tc=10+0.1 option.UCI_LimitStrength=true \\
        option.UCI_Elo=1600 --games 100 --concurrency 2 --sprt elo0=0 elo1=10 --pgn runs/match.pgn
    python scripts/match.py --from-pgn runs/match.pgn --sprt elo0=0 elo1=10 model=logistic

An engine without `cmd` is this Dejavu. Every opening is played twice, with colours changed. Every game is on the disk
once it is over: the same command goes on where it was stopped or killed. An engine that crashes, is late, silent or
plays an illegal move loses that game; this is said at once and counted. Elo, LOS and LLR are fastchess's, from pairs.
"""

import argparse
import logging
import signal
from pathlib import Path

from command_line.arguments import add_openings_argument, natural, positive
from command_line.exit import GOES_ON, one_sentence
from command_line.talk import complain_as, tell, write_json

from dejavu.engine.match.adjudication import Rules
from dejavu.engine.match.players import parse_player
from dejavu.engine.match.run import MATCH_ERRORS, Match, MatchReport, MatchRun, report_of
from dejavu.engine.match.words import draw_rule, resign_rule, sequential_test


def sum_up(report: MatchReport, path: Path | None) -> None:
    """Print the report, and write it as JSON where that is asked for."""
    tell(f"\n{report}")
    write_json(path, report.as_json())


def play(args: argparse.Namespace) -> None:
    """Play what is missing of the match, and sum it up."""
    same = ("openings", "pgn", "games", "patience", "neighbours")
    run = MatchRun(
        engines=[parse_player(words, args.each) for words in args.engine],
        gauntlet=args.tournament == "gauntlet",
        seed=None if args.order == "sequential" else args.seed,
        concurrency=args.batched or args.concurrency,
        batched=args.batched is not None,
        margin=args.margin / 1000,
        rules=Rules(draw_rule(args.draw), resign_rule(args.resign), args.maxmoves),
        sprt=sequential_test(args.sprt),
        **{name: getattr(args, name) for name in same},
    )
    match = Match(run.tournament(), run.pgn)
    try:
        match.play(tell, complain_as("match"), run.batched)
    except KeyboardInterrupt:
        sum_up(match.report(), args.json)
        raise
    sum_up(match.report(), args.json)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    engine = "an engine: name, cmd, args, tc (10+0.1, 40/60+1), st (seconds), movetime (ms), nodes, depth, option.NAME"
    add("--engine", nargs="+", action="append", default=[], metavar="KEY=VALUE", help=engine)
    add("--each", nargs="+", default=[], metavar="KEY=VALUE", help="the same for every engine")
    add("--games", type=positive, default=100, help="games of each two engines (100)")
    add(
        "--tournament", choices=("roundrobin", "gauntlet"), default="roundrobin", help="all with all, or first with all"
    )
    add_openings_argument(parser)
    add("--order", choices=("random", "sequential"), default="random", help="of the openings")
    add("--seed", type=int, default=1, help="shuffles the openings (1)")
    add("--concurrency", type=positive, default=1, help="games at the same time (1)")
    add(
        "--batched", type=positive, metavar="N", help="N games at once, here: option sets of this Dejavu at fixed nodes"
    )
    add("--margin", type=natural, default=100, help="milliseconds a move may be late (100)")
    add("--patience", type=positive, default=60, help="seconds until a silent search without a clock has failed (60)")
    add("--draw", nargs="*", metavar="KEY=VALUE", help="draw adjudication: movenumber, movecount, score")
    add("--resign", nargs="*", metavar="KEY=VALUE", help="resignation: movecount, score, twosided")
    add("--maxmoves", type=positive, help="a game of so many moves is drawn")
    add("--sprt", nargs="+", metavar="KEY=VALUE", help="ends it: elo0, elo1, alpha, beta, model (normalized, logistic)")
    add("--neighbours", type=positive, default=0, help="note so many neighbours of each Dejavu move")
    add("--pgn", type=Path, default=Path("runs/match.pgn"), help="record to write or to go on with (runs/match.pgn)")
    add("--json", type=Path, metavar="FILE", help="write the result here, too")
    add("--from-pgn", type=Path, metavar="FILE", help="play nothing: sum up this file")
    add("--first", metavar="NAME", help="with --from-pgn: whose score is shown")
    args = parser.parse_args()
    if (args.from_pgn is None) == (not args.engine):
        parser.error("either describe each --engine or name a file with --from-pgn")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # What python-chess and asyncio would log is either harmless or reported as a failure.
    logging.disable()
    with one_sentence("match", *MATCH_ERRORS, OSError, stopped=GOES_ON):
        if args.from_pgn is not None:
            sum_up(report_of(args.from_pgn, args.first, sequential_test(args.sprt)), args.json)
        else:
            play(args)


if __name__ == "__main__":
    main()
