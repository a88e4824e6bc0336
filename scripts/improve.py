"""Let the engine teach itself, generation after generation.

    python scripts/improve.py --run runs/improve --start runs/weak/weights.safetensors --generations 10
    python scripts/improve.py --run runs/improve --start runs/weak/weights.safetensors --generations 20 --games 200 \\
        --nodes 100 --data runs/data.safetensors --sources self-play=3,teacher=1 --final-games 400

Each generation: games of the best network with itself -> training on the games of the last generations -> a memory made
with the new backbone -> a short training of the retrieval part -> a match against the best network, ended by a
sequential test -> promoted, or rejected. Every stage goes on where it was after a kill: the same command does it, and
more with more --generations. `generations.jsonl` and `elo.png` in the run's folder tell what came of it.
"""

import argparse
import shlex
import signal
import sys
from pathlib import Path

from command_line.arguments import (
    add_openings_argument,
    add_self_play_arguments,
    many,
    number_between,
    parse_sources,
    share,
)
from command_line.exit import GOES_ON, need_matplotlib, one_sentence
from command_line.talk import complain_as

from dejavu.engine.match.elo import Sprt, SprtError
from dejavu.engine.selfplay.improve import ImproveRun, improve, meet_the_start
from dejavu.engine.selfplay.run import OPTIONS
from dejavu.model.training.ranks import RanksError


def sprt_bounds(text: str) -> Sprt:
    """Parse ELO0,ELO1."""
    try:
        low, high = map(float, text.split(","))
        return Sprt(low, high)
    except SprtError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not ELO0,ELO1") from None


def parse_arguments() -> ImproveRun:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what is not given is as ImproveRun has it
    )
    add = parser.add_argument
    folder = Path("runs/improve")
    add("--run", dest="folder", type=Path, default=folder, metavar="RUN", help=f"folder of the run ({folder})")
    add("--start", type=Path, required=True, metavar="WEIGHTS", help="the network to begin with")
    add("--start-memory", type=Path, metavar="MEMORY", help="its memory (default: none)")
    add("--generations", type=many, help="in all, those there already included (10)")
    add_self_play_arguments(parser.add_argument_group("self-play of a generation"), OPTIONS, games=200, max_plies=240)
    openings = "begin games of self-play with these, so that more of them meet (default: the start)"
    add("--self-play-openings", type=Path, metavar="FILE", help=openings)
    add("--window", type=many, help="generations whose games are trained on (5)")
    add("--data", type=Path, nargs="+", help="data sets of scripts/prepare_data.py to train on, too")
    sources = "shares of self-play and of the data in a batch"
    add("--sources", type=parse_sources, metavar="NAME=WEIGHT,...", help=sources)
    add("--steps", type=many, help="updates of the backbone a generation (300)")
    add("--batch", type=many, help="samples an update (256)")
    add("--learning-rate", type=float, help="1e-3")
    add("--result-weight", type=share, help="share of the result in the value (0.5)")
    add("--entries", type=many, help="positions in the memory, at most (50000)")
    add("--retrieval-steps", type=many, help="updates of the retrieval part (60)")
    add("--no-memory", dest="has_memory", action="store_false", help="no memory, no retrieval: the backbone alone")
    add("--gate-games", type=many, help="at most so many games against the best (200)")
    add("--gate-nodes", type=many, help="nodes a move in them (100)")
    sprt = "the test that ends them; undecided, the likelier of both is taken (0,50)"
    add("--sprt", type=sprt_bounds, metavar="ELO0,ELO1", help=sprt)
    add_openings_argument(parser)
    add("--final-games", type=number_between(int, 0, 999_999), help="games of the last best against the start (0)")
    add("--threads", type=many, help="CPU threads (2)")
    add("--backend", help="what computes the network in games (auto)")
    return ImproveRun(**vars(parser.parse_args()), command=shlex.join(["improve.py", *sys.argv[1:]]))


def main() -> None:
    run = parse_arguments()
    need_matplotlib("improve.py")
    with one_sentence("improve", ValueError, RanksError, OSError, stopped=GOES_ON):
        print(f"\n{improve(run, complain_as('improve'))}")
        meet_the_start(run, complain_as("improve"))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
