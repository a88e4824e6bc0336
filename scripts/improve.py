"""Let the engine teach itself, generation after generation.

    python scripts/improve.py --run runs/improve --start runs/weak/weights.safetensors --generations 10
    python scripts/improve.py --run runs/improve --start runs/weak/weights.safetensors --generations 20 --games 200 \\
        --nodes 100 --data runs/data.safetensors --sources self-play=3,teacher=1 --final-games 400

Each generation: games of the best network with itself -> training on the games of the last generations -> a memory made
with the new backbone -> a short training of the retrieval part -> a match against the best network, ended by a
sequential test -> promoted, or rejected. Every stage goes on where it was after a kill: the same command does it, and
more with more --generations. `generations.jsonl` and `elo.png` in the run's folder tell what came of it.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from command_line.arguments import (
    add_openings_argument,
    add_self_play_arguments,
    many,
    number_between,
    parse_sources,
    share,
)
from command_line.ending import GOES_ON, one_sentence
from command_line.run_folder import RunFolderError, claim
from improvement.loop import Loop
from selfplay import OPTIONS

from dejavu.engine.match.openings import OpeningError
from dejavu.engine.match.players import PlayerError
from dejavu.engine.match.record import RecordError
from dejavu.engine.match.statistics import Sprt, SprtError
from dejavu.engine.selfplay.generations import TABLE_HEAD, GenerationError, draw
from dejavu.engine.uci.loader import EvaluatorFactory, load_network
from dejavu.model.training.ranks import RanksError
from dejavu.model.weights import WeightsError, load_weights
from dejavu.retrieval.memory import MemoryFileError


def improve(arguments: argparse.Namespace, load: EvaluatorFactory) -> None:
    """Run the generations that are missing, and compare the last best with the start."""
    settings = {
        name: str(value)
        for name, value in vars(arguments).items()
        if name not in ("run", "generations", "final_games", "threads", "backend", "at_once", "command")
    }
    load_weights(arguments.start)  # before anything is written
    claim(arguments.run, settings)
    loop = Loop(arguments, load)
    for number in range(len(loop.generations) + 1, arguments.generations + 1):
        generation = loop.run(number)
        print(f"\n{TABLE_HEAD}\n{generation.row()}", flush=True)
    print(f"\n{TABLE_HEAD}")
    for generation in loop.generations:
        print(generation.row())
    if loop.generations:
        draw(loop.generations, arguments.run / "elo.png")
        print(f"wrote {loop.record} and {arguments.run / 'elo.png'}; the best is generation {loop.best}")
    if arguments.final_games and loop.best:
        print(f"\nthe best, generation {loop.best}, against the start")
        loop.meet_the_start(arguments.final_games)


def sprt_bounds(text: str) -> Sprt:
    """Parse ELO0,ELO1."""
    try:
        low, high = map(float, text.split(","))
        return Sprt(low, high)
    except SprtError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not ELO0,ELO1") from None


def parse_arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/improve"), help="folder of the run (runs/improve)")
    parser.add_argument("--start", type=Path, required=True, metavar="WEIGHTS", help="the network to begin with")
    parser.add_argument("--start-memory", type=Path, metavar="MEMORY", help="its memory (default: none)")
    parser.add_argument("--generations", type=many, default=10, help="in all, those there already included (10)")
    add_self_play_arguments(parser.add_argument_group("self-play of a generation"), OPTIONS, games=200, max_plies=240)
    parser.add_argument(
        "--self-play-openings",
        type=Path,
        metavar="FILE",
        help="begin games of self-play with these, so that more of them meet (default: the start)",
    )
    parser.add_argument("--window", type=many, default=5, help="generations whose games are trained on (5)")
    parser.add_argument(
        "--data", type=Path, nargs="+", default=[], help="data sets of scripts/prepare_data.py to train on, too"
    )
    parser.add_argument(
        "--sources",
        type=parse_sources,
        metavar="NAME=WEIGHT,...",
        help="shares of self-play and of the data in a batch",
    )
    parser.add_argument("--steps", type=many, default=300, help="updates of the backbone a generation (300)")
    parser.add_argument("--batch", type=many, default=256, help="samples an update (256)")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--result-weight", type=share, default=0.5, help="share of the result in the value (0.5)")
    parser.add_argument("--entries", type=many, default=50_000, help="positions in the memory, at most (50000)")
    parser.add_argument("--retrieval-steps", type=many, default=60, help="updates of the retrieval part (60)")
    parser.add_argument("--no-memory", action="store_true", help="neither memory nor retrieval: the backbone alone")
    parser.add_argument("--gate-games", type=many, default=200, help="at most so many games against the best (200)")
    parser.add_argument("--gate-nodes", type=many, default=100, help="nodes a move in them (100)")
    parser.add_argument(
        "--sprt",
        type=sprt_bounds,
        default=Sprt(0, 50),
        metavar="ELO0,ELO1",
        help="the test that ends them; undecided, the likelier of both is taken (0,50)",
    )
    add_openings_argument(parser)
    parser.add_argument(
        "--final-games",
        type=number_between(int, 0, 999_999),
        default=0,
        help="games of the last best against the start (0)",
    )
    parser.add_argument("--threads", type=many, default=2, help="CPU threads (2)")
    parser.add_argument("--backend", default="auto", help="what computes the network in games (auto)")
    arguments = parser.parse_args(words)
    arguments.command = shlex.join(["improve.py", *(sys.argv[1:] if words is None else words)])
    return arguments


def main(words: Sequence[str] | None = None, load: EvaluatorFactory = load_network) -> None:
    """Run the command line `words`, or that of the process."""
    arguments = parse_arguments(words)
    errors = (
        RunFolderError,
        GenerationError,
        PlayerError,
        OpeningError,
        RecordError,
        WeightsError,
        MemoryFileError,
        RanksError,
        ValueError,
        OSError,
    )
    with one_sentence("improve", *errors, stopped=GOES_ON):
        improve(arguments, load)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
