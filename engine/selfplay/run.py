"""Games of the engine with itself, in a folder that grows game by game."""

from __future__ import annotations

import datetime
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dejavu.engine.loader import EvaluatorFactory, load_network, wanted
from dejavu.engine.match.batch import FULL_BATCHES, SharedPlayer
from dejavu.engine.match.openings import OpeningError, read_openings
from dejavu.engine.match.pace import Pace
from dejavu.engine.match.players import PlayerSettings
from dejavu.engine.selfplay.game import Conditions
from dejavu.engine.selfplay.resignation import Resignation
from dejavu.engine.selfplay.run_folder import claim
from dejavu.engine.selfplay.summary import summarise
from dejavu.engine.selfplay.work import SelfPlayWork
from dejavu.model.data.dataset import HELD_OUT, MEMORY, TRAIN
from dejavu.model.data.games import GamePositions
from dejavu.model.data.records import join
from dejavu.model.data.shards import Shards
from dejavu.retrieval.cluster import Cluster
from dejavu.retrieval.progress import progress_bar

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


@dataclass(frozen=True)
class SelfPlayRun:
    """Games to be in a folder; those there already count, so the same run goes on after a kill."""

    out: Path
    """Folder of the games."""
    games: int = 1000
    nodes: int = 100
    """A move."""
    max_plies: int = 400
    """A game of so many plies is drawn."""
    resign: float = 0.95
    """A side gives up at Q <= -`resign`; 0: never ..."""
    resign_moves: int = 3
    """... on so many of its moves running."""
    play_on: float = 0.2
    """Share of the games without resignation, to see how often it is wrong."""
    options: Mapping[str, str] = field(default_factory=dict)
    """UCI options, where they differ from those of play with OPTIONS."""
    at_once: int = 64
    """Games at the same time, on each worker of a cluster."""
    random_plies: int = 8
    """At most so many random moves at the start."""
    openings: Path | None = None
    """File of openings, one of which comes before the random moves."""
    memory: float = 0.18
    """Share of the games kept for the memory."""
    held_out: float = 0.05
    """Share of the games kept for evaluation."""
    seed: int = 1
    cluster: str | None = None
    """Address of a Ray cluster to play on."""

    @property
    def player(self) -> PlayerSettings:
        """Who plays."""
        return PlayerSettings("self-play", (), Pace(nodes=self.nodes), {**OPTIONS, **self.options})

    def conditions(self) -> Conditions:
        """How games begin and end. Raises OpeningError and OSError."""
        rule = Resignation(self.resign, self.resign_moves, self.play_on) if self.resign else None
        openings = read_openings(self.openings) if self.openings is not None else ()
        given = max((len(opening.moves) for opening in openings), default=0) + self.random_plies
        if given >= self.max_plies:
            raise OpeningError(f"games of {self.max_plies} plies may be over before the {given} they begin with are")
        return Conditions(self.random_plies, self.max_plies, rule, openings)


@dataclass(frozen=True)
class SelfPlayReport:
    """What was played now, and what all games of the folder are like."""

    positions: int
    seconds: float
    summary: str

    def __str__(self) -> str:
        rate = f"{self.positions:,} positions in {self.seconds:.0f} s, {self.positions / self.seconds:.1f} a second"
        return f"{rate}\n{self.summary}" if self.positions else self.summary


def split_of(number: int, memory: float, held_out: float) -> int:
    """Which split a game belongs to: evenly spread, so that even few games have some of each."""
    share = number * _GOLDEN_RATIO % 1
    if share < held_out:
        return HELD_OUT
    return MEMORY if share < held_out + memory else TRAIN


def file_digest(path: Path) -> str:
    """What identifies a network or a memory, wherever it lies."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def describe(run: SelfPlayRun, player: SharedPlayer, rules: Conditions) -> dict[str, str]:
    """Everything that the games in a folder have in common."""
    files = wanted(player.config)
    openings = f" from openings {file_digest(run.openings)}" if run.openings is not None else ""
    options = {name: value for name, value in run.player.options.items() if name.lower() not in NOT_SETTINGS}
    return {
        "weights": file_digest(files.weights),
        "memory": file_digest(files.memory) if files.memory is not None else "none",
        "player": str(replace(run.player, options=options)),
        "conditions": f"{rules}{openings}",
        "splits": f"memory {run.memory:g}, held-out {run.held_out:g}",
        "seed": str(run.seed),
    }


def play_games(
    run: SelfPlayRun, complain: Callable[[str], None], load: EvaluatorFactory = load_network
) -> SelfPlayReport:
    """Play the missing games, here or on a cluster; `complain` gets what the engine complains of.

    Raises PlayerError, OpeningError, RunFolderError, DatasetError, ClusterError and OSError.
    """
    rules = run.conditions()
    player = SharedPlayer(run.player, complain, load)
    claim(run.out, describe(run, player, rules))
    shards = Shards(run.out)
    shards.tidy()
    work = SelfPlayWork(run.player, rules, run.seed, run.at_once, datetime.date.today().year, load)
    missing = [number for number in range(run.games) if number not in shards.done]
    print(f"{len(missing)} games to play, {run.games - len(missing)} in {run.out}", flush=True)
    threads = player.config.threads
    games = play_on_cluster(run, threads, work, missing, complain) if run.cluster else work.play(player, missing)
    bar = progress_bar("playing", "games", run.games, run.games - len(missing))
    start, samples = time.monotonic(), 0
    for number, positions in games:
        split = split_of(number, run.memory, run.held_out)
        shards.add(number, join([positions], [split], [0], [SOURCE]))
        samples += len(positions)
        bar.update()
        bar.note(f"{samples / (time.monotonic() - start):.0f} samples/s")
    bar.close()
    seconds = time.monotonic() - start
    return SelfPlayReport(samples, seconds, summarise(run.out, rules.resignation, run.out / "games.png"))


def play_on_cluster(
    run: SelfPlayRun, threads: int, work: SelfPlayWork, missing: Sequence[int], complain: Callable[[str], None]
) -> Iterator[tuple[int, GamePositions]]:
    """Play the missing games on the workers of a cluster, so many at once on each."""
    assert run.cluster is not None
    cluster = Cluster(run.cluster, threads, complain)
    # At the end of a bundle its last games are evaluated in small batches, so it holds some more than are played at
    # once; but every worker should have its share.
    bundle = min(BUNDLE * run.at_once, math.ceil(len(missing) / cluster.workers()))
    yield from cluster.run(work, dict.fromkeys(missing), max(bundle, 1))
    cluster.close()
