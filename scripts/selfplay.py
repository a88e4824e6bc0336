"""Let the engine play games with itself, to train a network from.

    python scripts/selfplay.py --out runs/selfplay --games 1000
    python scripts/selfplay.py --out runs/selfplay --games 1000 --nodes 100 --at-once 64 \\
        --options WeightsFile=runs/small/weights.safetensors UseMemory=false
    python scripts/train.py backbone --data runs/selfplay runs/data.safetensors --sources self-play=1,teacher=1 ...

    python scripts/selfplay.py --out runs/selfplay --games 100000 --cluster auto

The last plays on the workers of a Ray cluster; one that dies loses the games it is playing, and others play them.

Games begin with random moves (after one of --openings, where given); noise at the root and a temperature vary the rest.
Many games are played at once, so that the network evaluates their positions in full batches. Each game is on the disk
once it is over: the same command goes on after a kill, and with more --games. `--speed` keeps no games, and tells how
much faster many games at once are.
"""

import argparse
import signal
from pathlib import Path

from command_line.arguments import add_self_play_arguments, many, share
from command_line.exit import GOES_ON, need_matplotlib, one_sentence
from command_line.talk import complain_as, tell

from dejavu.engine.match.openings import OpeningError
from dejavu.engine.match.players import PlayerError
from dejavu.engine.selfplay.run import OPTIONS, SelfPlayRun, play_games
from dejavu.engine.selfplay.run_folder import RunFolderError
from dejavu.engine.selfplay.speed import measure_speed
from dejavu.model.data.dataset import DatasetError
from dejavu.retrieval.cluster import ClusterError

ERRORS = (RunFolderError, PlayerError, OpeningError, DatasetError, ClusterError, OSError)


def parse_arguments() -> tuple[SelfPlayRun, bool]:
    """What to play, and whether only to measure."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what is not given is as SelfPlayRun has it
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/selfplay"), help="folder of the games (runs/selfplay)")
    add_self_play_arguments(parser, OPTIONS, games=1000, max_plies=400)
    openings = "begin with one of these, then with random moves: EPD, PGN, or TSV (ECO, name, moves)"
    add("--openings", type=Path, metavar="FILE", help=openings)
    add("--resign-moves", type=many, help="... on so many moves running (3)")
    add("--play-on", type=share, help="share of games without resignation, to see how often it is wrong (0.2)")
    add("--memory", type=share, help="share of the games kept for the memory (0.18)")
    add("--held-out", type=share, help="share of the games kept for evaluation (0.05)")
    add("--seed", type=int, help="1")
    add("--cluster", metavar="ADDRESS", help="play on a Ray cluster (HOST:PORT, auto, or local: this machine)")
    add("--speed", action="store_true", default=False, help="measure many games at once against one by one")
    arguments = vars(parser.parse_args())
    speed = arguments.pop("speed")
    return SelfPlayRun(**arguments), speed


def main() -> None:
    run, speed = parse_arguments()
    if not speed:
        need_matplotlib("selfplay.py")
    with one_sentence("selfplay", *ERRORS, stopped=GOES_ON):
        if speed:
            measure_speed(run, tell, complain_as("selfplay"))
        else:
            print(play_games(run, complain_as("selfplay")))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
