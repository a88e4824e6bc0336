"""Let the engine play games with itself, to train a network from.

    python scripts/selfplay.py --out runs/selfplay --games 1000
    python scripts/selfplay.py --out runs/selfplay --games 1000 --nodes 100 --at-once 64 \\
        --options WeightsFile=runs/small/weights.safetensors UseMemory=false
    python scripts/train.py backbone --data runs/selfplay runs/data.safetensors --sources self-play=1,teacher=1 ...

    python scripts/selfplay.py --out runs/selfplay --games 100000 --cluster auto

The last plays on the workers of a Ray cluster; one that dies loses the games it is playing, and others play them.

Games begin with random moves (after one of --openings, where given); noise at the root and a temperature vary the rest.
Many games are played at once, so that the network judges their positions in full batches. Each game is on the disk once
it is over: the same command goes on after a kill, and with more --games. `--speed` keeps no games, and tells how much
faster many games at once are.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from command_line.arguments import add_self_play_arguments, many, share
from command_line.ending import GOES_ON, one_sentence
from command_line.run_folder import RunFolderError, claim
from tqdm import tqdm

from dejavu.engine.match.batch import FULL_BATCHES, SharedPlayer
from dejavu.engine.match.openings import OpeningError, read_openings
from dejavu.engine.match.players import PlayerError, PlayerSettings, parse_player
from dejavu.engine.selfplay.game import Conditions
from dejavu.engine.selfplay.resignation import Resignation
from dejavu.engine.selfplay.speed import measure_speed
from dejavu.engine.selfplay.summary import summarise
from dejavu.engine.selfplay.work import SelfPlayWork
from dejavu.engine.uci.loader import EvaluatorFactory, load_network, wanted
from dejavu.model.data.dataset import HELD_OUT, MEMORY, TRAIN, DatasetError
from dejavu.model.data.games import GamePositions
from dejavu.model.data.records import join
from dejavu.model.data.shards import Shards
from dejavu.retrieval.cluster import Cluster, ClusterError

SOURCE = "self-play"
"""What the games' source is called in a data set."""
OPTIONS = {
    "DirichletNoiseEpsilon": "0.25",
    "Temperature": "1",
    "TempDecayMoves": "30",
    **FULL_BATCHES,
}
"""Options that differ from those of play."""
NOT_SETTINGS = ("weightsfile", "memoryfile", "threads", "backend")
"""Options that do not decide what is played; of the files, the contents do."""
BUNDLE = 4
"""A worker of a cluster gets so many times the games that it plays at once."""
_GOLDEN_RATIO = 0.6180339887498949


def split_of(number: int, memory: float, held_out: float) -> int:
    """Which split a game belongs to: evenly spread, so that even few games have some of each."""
    place = number * _GOLDEN_RATIO % 1
    if place < held_out:
        return HELD_OUT
    return MEMORY if place < held_out + memory else TRAIN


def player_settings(arguments: argparse.Namespace) -> PlayerSettings:
    """The player: options of self-play, and those given. Raises PlayerError."""
    words = [f"option.{word}" for word in arguments.options]
    defaults = [f"option.{name}={value}" for name, value in OPTIONS.items()]
    return parse_player(["name=self-play", f"nodes={arguments.nodes}", *words], defaults)


def conditions(arguments: argparse.Namespace) -> Conditions:
    """How games begin and end. Raises OpeningError."""
    rule = Resignation(arguments.resign, arguments.resign_moves, arguments.play_on) if arguments.resign else None
    openings = read_openings(arguments.openings) if arguments.openings is not None else ()
    given = max((len(opening.moves) for opening in openings), default=0) + arguments.random_plies
    if given >= arguments.max_plies:
        raise OpeningError(f"games of {arguments.max_plies} plies may be over before the {given} they begin with are")
    return Conditions(arguments.random_plies, arguments.max_plies, rule, openings)


def file_digest(path: Path) -> str:
    """What identifies a network or a memory, wherever it lies."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def describe(
    arguments: argparse.Namespace, player: SharedPlayer, settings: PlayerSettings, rules: Conditions
) -> dict[str, str]:
    """Everything that the games in a folder have in common."""
    files = wanted(player.config)
    openings = f" from openings {file_digest(arguments.openings)}" if arguments.openings is not None else ""
    options = {name: value for name, value in settings.options.items() if name.lower() not in NOT_SETTINGS}
    return {
        "weights": file_digest(files.weights),
        "memory": file_digest(files.memory) if files.memory is not None else "none",
        "player": str(replace(settings, options=options)),
        "conditions": f"{rules}{openings}",
        "splits": f"memory {arguments.memory:g}, held-out {arguments.held_out:g}",
        "seed": str(arguments.seed),
    }


def play(arguments: argparse.Namespace, player: SharedPlayer, work: SelfPlayWork, shards: Shards) -> None:
    """Play the missing games, here or on a cluster."""
    missing = [number for number in range(arguments.games) if number not in shards.done]
    print(f"{len(missing)} games to play, {arguments.games - len(missing)} in {arguments.out}", flush=True)
    threads = player.config.threads
    games = play_on_cluster(arguments, threads, work, missing) if arguments.cluster else work.play(player, missing)
    bar = tqdm(total=arguments.games, initial=arguments.games - len(missing), unit="game", smoothing=0.05)
    start, samples = time.monotonic(), 0
    for number, positions in games:
        split = split_of(number, arguments.memory, arguments.held_out)
        shards.add(number, join([positions], [split], [0], [SOURCE]))
        samples += len(positions.planes)
        bar.update()
        bar.set_postfix_str(f"{samples / (time.monotonic() - start):.0f} samples/s")
    bar.close()
    if missing:
        seconds = time.monotonic() - start
        print(f"{samples:,} positions in {seconds:.0f} s, {samples / seconds:.1f} a second")


def play_on_cluster(
    arguments: argparse.Namespace, threads: int, work: SelfPlayWork, missing: Sequence[int]
) -> Iterator[tuple[int, GamePositions]]:
    """Play the missing games on the workers of a cluster, so many at once on each."""
    cluster = Cluster(arguments.cluster, threads, complain)
    # At the end of a bundle its last games are judged in small batches, so it holds some more than are played at once;
    # but every worker should have its share.
    bundle = min(BUNDLE * arguments.at_once, math.ceil(len(missing) / cluster.workers()))
    yield from cluster.run(work, dict.fromkeys(missing), max(bundle, 1))
    cluster.close()


def parse_arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/selfplay"), help="folder of the games (runs/selfplay)")
    add_self_play_arguments(parser, OPTIONS, games=1000, max_plies=400)
    parser.add_argument(
        "--openings",
        type=Path,
        metavar="FILE",
        help="begin with one of these, then with random moves: EPD, PGN, or TSV (ECO, name, moves)",
    )
    parser.add_argument("--resign-moves", type=many, default=3, help="... on so many moves running (3)")
    parser.add_argument(
        "--play-on", type=share, default=0.2, help="share of games without resignation, to see how often it is wrong"
    )
    parser.add_argument("--memory", type=share, default=0.18, help="share of the games kept for the memory")
    parser.add_argument("--held-out", type=share, default=0.05, help="share of the games kept for evaluation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="play on a Ray cluster (HOST:PORT, auto, or local: this machine)"
    )
    parser.add_argument("--speed", action="store_true", help="measure many games at once against one by one")
    return parser.parse_args(words)


def tell(text: str) -> None:
    """Say how the measurement goes."""
    print(text, flush=True)


def complain(text: str) -> None:
    """Pass on what the engine says."""
    print(f"selfplay: {text}", file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None, load: EvaluatorFactory = load_network) -> None:
    """Run the command line `words`, or that of the process."""
    arguments = parse_arguments(words)
    errors = (RunFolderError, PlayerError, OpeningError, DatasetError, ClusterError, OSError)
    with one_sentence("selfplay", *errors, stopped=GOES_ON):
        settings, rules = player_settings(arguments), conditions(arguments)
        player = SharedPlayer(settings, complain, load)
        if arguments.speed:
            measure_speed(player, rules, arguments.at_once, arguments.seed, tell)
            return
        claim(arguments.out, describe(arguments, player, settings, rules))
        shards = Shards(arguments.out)
        shards.tidy()
        year = datetime.date.today().year
        work = SelfPlayWork(settings, rules, arguments.seed, arguments.at_once, year, load)
        play(arguments, player, work, shards)
        print(summarise(arguments.out, rules.resignation, arguments.out / "games.png"))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
