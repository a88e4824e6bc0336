"""Let the engine play games with itself, to train a network from.

    python scripts/selfplay.py --out runs/selfplay --games 1000
    python scripts/selfplay.py --out runs/selfplay --games 1000 --nodes 100 --at-once 64 \
        --options WeightsFile=runs/small/weights.safetensors UseMemory=false
    python scripts/train.py backbone --data runs/selfplay runs/data.safetensors --sources self-play=1,teacher=1 ...

    python scripts/selfplay.py --out runs/selfplay --games 100000 --cluster auto

The last plays on the workers of a Ray cluster; one that dies loses the games it is playing, and others play them.

Games begin with random moves; noise at the root and a temperature vary the rest. Many games are played at once, so that
the network judges their positions in full batches. Each game is on the disk once it is over: the same command goes on
after a kill, and with more --games. `--speed` keeps no games, and tells how much faster many games at once are.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from command_line.arguments import many, number_between, share
from tqdm import tqdm

from dejavu.engine.cluster import Cluster, ClusterError
from dejavu.engine.loader import EvaluatorFactory, load_network, wanted
from dejavu.engine.match.batch import SharedPlayer, play_together
from dejavu.engine.match.players import PlayerError, PlayerSettings, parse_player
from dejavu.engine.selfplay.game import Conditions, SelfPlayGame
from dejavu.engine.selfplay.resignation import Check, Resignation, SearchedGame, check, searched_games
from dejavu.engine.selfplay.work import SelfPlayWork
from dejavu.model.training.dataset import HELD_OUT, MEMORY, TRAIN, DatasetError
from dejavu.model.training.games import GamePositions
from dejavu.model.training.records import join
from dejavu.model.training.shards import Shards, open_data

SOURCE = "self-play"
"""What the games' source is called in a data set."""
OPTIONS = {
    "DirichletNoiseEpsilon": "0.25",
    "Temperature": "1",
    "TempDecayMoves": "30",
    # Each search waits for one position at a time, as if it were alone: the batch is filled by the other games.
    "MinibatchSize": "1",
    "Hash": "16",
}
"""Options that differ from those of play."""
NOT_SETTINGS = ("weightsfile", "memoryfile", "threads", "backend")
"""Options that do not decide what is played; of the files, the contents do."""
THRESHOLDS = (0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
"""Resignation values that the summary compares."""
SPEED_PLIES, SPEED_ROUNDS, SPEED_SHARE = 24, 3, 16
"""What --speed measures: games so long, so many rounds, one game alone for so many at once."""
BUNDLE = 4
"""A worker of a cluster gets so many times the games that it plays at once."""
_GOLDEN_RATIO = 0.6180339887498949


class SelfPlayError(ValueError):
    """A command line that cannot be obeyed; the message is one sentence."""


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
    """How games begin and end."""
    rule = Resignation(arguments.resign, arguments.resign_moves, arguments.play_on) if arguments.resign else None
    return Conditions(arguments.random_plies, arguments.max_plies, rule)


def file_digest(path: Path) -> str:
    """What identifies a network or a memory, wherever it lies."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def claim(folder: Path, settings: dict[str, str]) -> None:
    """Make the folder that of these settings, or find that it is. Raises SelfPlayError."""
    path = folder / "settings.json"
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
        for name, value in settings.items():
            if stored.get(name) != value:
                was = stored.get(name)
                raise SelfPlayError(f"{folder} was begun with {name} {was}, not {value}; choose another folder")
        return
    draft = path.with_name(path.name + ".partial")
    draft.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    os.replace(draft, path)


def describe(arguments: argparse.Namespace, player: SharedPlayer, settings: PlayerSettings) -> dict[str, str]:
    """Everything that the games in a folder have in common."""
    files = wanted(player.config)
    options = {name: value for name, value in settings.options.items() if name.lower() not in NOT_SETTINGS}
    return {
        "weights": file_digest(files.weights),
        "memory": file_digest(files.memory) if files.memory is not None else "none",
        "player": str(replace(settings, options=options)),
        "conditions": str(conditions(arguments)),
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


def new_games(numbers: Sequence[int], player: SharedPlayer, rules: Conditions, seed: int) -> Iterator[SelfPlayGame]:
    """Games of these numbers, each made when its turn comes."""
    return (SelfPlayGame(number, player, rules, seed) for number in numbers)


def measure_speed(arguments: argparse.Namespace, player: SharedPlayer) -> None:
    """Samples a second of many games at once and of games one by one, in turns: the same first plies of games."""
    rules = replace(conditions(arguments), max_plies=SPEED_PLIES, resignation=None)
    together = range(arguments.at_once)
    alone = range(max(1, arguments.at_once // SPEED_SHARE))
    ratios = []
    print(f"games of {SPEED_PLIES} plies, {player.evaluator.describe()}")
    for _ in range(SPEED_ROUNDS):
        many = speed(new_games(together, player, rules, arguments.seed), arguments.at_once)
        one = speed(new_games(alone, player, rules, arguments.seed), 1)
        ratios.append(many / one)
        print(
            f"{arguments.at_once} games at once {many:.1f} samples a second, one by one {one:.1f}: "
            f"{ratios[-1]:.1f} times as fast",
            flush=True,
        )
    print(f"median: {np.median(ratios):.1f} times as fast")


def speed(games: Iterator[SelfPlayGame], at_once: int) -> float:
    """Positions searched a second."""
    start = time.perf_counter()
    samples = sum(len(game.targets) for game in play_together(games, at_once))
    return samples / (time.perf_counter() - start)


def summarise(folder: Path, rule: Resignation | None) -> None:
    """Print what the games of a folder are like, and draw it."""
    dataset = open_data([folder])
    games = searched_games(dataset)
    first = np.flatnonzero(np.diff(dataset.game, prepend=-1))
    lengths = np.diff([*first.tolist(), len(dataset)])
    decisive = sum(game.results[0] != 0 for game in games)
    shares = np.diff(dataset.searches.offsets)
    print(
        f"{len(games):,} games, {len(dataset):,} positions, {lengths.mean():.0f} a game (longest {lengths.max()}); "
        f"{decisive / len(games):.0%} decided"
    )
    print(f"{shares.mean():.1f} moves visited a position, {folder_megabytes(folder):.1f} MB")
    if rule is not None:
        found = check(games, rule)
        print(f"resignation at {rule.value:g} for {rule.moves} moves: {check_line(found)}")
    plot = folder / "games.png"
    draw(lengths.tolist(), games, rule or Resignation(), plot)
    print(f"wrote {plot}")


def check_line(found: Check) -> str:
    """A check of the resignation rule in words."""
    line = f"{found.ended} of {found.games} games ended by it, {found.played_on} were played on"
    if found.played_on:
        line += (
            f", of which it would have been wrong in {found.false_positives:.1%} ({found.won} won, {found.drawn} drawn)"
        )
    return line


def folder_megabytes(folder: Path) -> float:
    """Size of the games."""
    return sum(path.stat().st_size for path in Shards(folder).paths()) / 1e6


def draw(lengths: Sequence[int], games: Sequence[SearchedGame], rule: Resignation, path: Path) -> None:
    """How long games are, and how often resignation at other values would have been wrong."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    left.hist(lengths, bins=30)
    left.set(xlabel="positions a game", ylabel="games")
    checks = [check(games, replace(rule, value=value)) for value in THRESHOLDS]
    right.plot(THRESHOLDS, [found.false_positives for found in checks], "o-")
    for value, found in zip(THRESHOLDS, checks, strict=True):
        if found.played_on:
            right.annotate(
                f"{found.won + found.drawn} of {found.played_on}", (value, found.false_positives), fontsize=8
            )
    right.set(xlabel="resignation value", ylabel="share of games not lost", ylim=(-0.02, None))
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=90, format="png")
    plt.close(figure)


def parse_arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/selfplay"), help="folder of the games (runs/selfplay)")
    parser.add_argument("--games", type=many, default=1000, help="games in all, those there already included (1000)")
    parser.add_argument("--at-once", type=many, default=64, help="games at the same time (64)")
    parser.add_argument("--nodes", type=many, default=100, help="nodes a move (100)")
    parser.add_argument(
        "--options",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="UCI options; those of play but for " + ", ".join(f"{name}={value}" for name, value in OPTIONS.items()),
    )
    parser.add_argument(
        "--random-plies",
        type=number_between(int, 0, 100),
        default=8,
        help="at most so many random moves at the start (8)",
    )
    parser.add_argument("--max-plies", type=many, default=400, help="a game of so many plies is drawn (400)")
    parser.add_argument("--resign", type=share, default=0.95, help="give up at Q <= -VALUE; 0 never (0.95)")
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


def complain(text: str) -> None:
    """Pass on what the engine says."""
    print(f"selfplay: {text}", file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None, load: EvaluatorFactory = load_network) -> None:
    """Run the command line `words`, or that of the process."""
    arguments = parse_arguments(words)
    try:
        settings = player_settings(arguments)
        player = SharedPlayer(settings, complain, load)
        if arguments.speed:
            measure_speed(arguments, player)
            return
        claim(arguments.out, describe(arguments, player, settings))
        shards = Shards(arguments.out)
        shards.tidy()
        year = datetime.date.today().year
        work = SelfPlayWork(settings, conditions(arguments), arguments.seed, arguments.at_once, year, load)
        play(arguments, player, work, shards)
        rule = conditions(arguments).resignation
        summarise(arguments.out, rule)
    except (SelfPlayError, PlayerError, DatasetError, ClusterError, OSError) as error:
        sys.exit(f"selfplay: {error}")
    except KeyboardInterrupt:
        print("selfplay: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
