"""Reinforcement learning: self-play, training, memory, and a match against the best, generation after generation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dejavu.engine.loader import EvaluatorFactory, Wanted, load_network
from dejavu.engine.match.elo import Sprt, estimate
from dejavu.engine.match.openings import read_openings
from dejavu.engine.search.evaluator import Evaluator
from dejavu.engine.selfplay.gate import Contestant, Gate
from dejavu.engine.selfplay.generations import (
    TABLE_HEAD,
    Generation,
    best_of,
    draw,
    read_generations,
    write_generations,
)
from dejavu.engine.selfplay.resignation import Resignation, check, searched_games
from dejavu.engine.selfplay.run import SOURCE, SelfPlayRun, play_games
from dejavu.engine.selfplay.run_folder import claim
from dejavu.model.data.memory_run import MemoryRun, make_memory
from dejavu.model.data.shards import Shards, open_data
from dejavu.model.training.backbone_run import BackboneRun, train_backbone
from dejavu.model.training.retrieval_run import RetrievalRun, train_retrieval
from dejavu.model.weights import load_weights
from dejavu.retrieval.memory import Memory

NOT_SETTINGS = ("folder", "generations", "final_games", "threads", "backend", "at_once", "command")
"""What may be another when a run goes on."""


@dataclass(frozen=True, kw_only=True)
class ImproveRun:
    """A run of reinforcement learning; it goes on where it was after a kill, and with more generations."""

    folder: Path
    start: Path
    """Weights of the network to begin with."""
    start_memory: Path | None = None
    generations: int = 10
    """In all, those there already included."""
    games: int = 200
    """Of self-play, each generation."""
    nodes: int = 100
    """A move of self-play."""
    max_plies: int = 240
    resign: float = 0.95
    options: Mapping[str, str] = field(default_factory=dict)
    at_once: int = 64
    random_plies: int = 8
    self_play_openings: Path | None = None
    """What games of self-play begin with; None: the start."""
    window: int = 5
    """Generations whose games are trained on."""
    data: Sequence[Path] = ()
    """Data sets to train on, too."""
    sources: Mapping[str, float] | None = None
    """Shares of self-play and of the data in a batch."""
    steps: int = 300
    """Updates of the backbone a generation."""
    batch: int = 256
    learning_rate: float = 1e-3
    result_weight: float = 0.5
    entries: int = 50_000
    """Positions in the memory, at most."""
    retrieval_steps: int = 60
    """Updates of the retrieval part a generation."""
    has_memory: bool = True
    """False: neither memory nor retrieval, the backbone alone."""
    gate_games: int = 200
    """At most so many against the best."""
    gate_nodes: int = 100
    """A move in them."""
    sprt: Sprt = field(default_factory=lambda: Sprt(0, 50))
    """The test that ends them; undecided, the likelier of both is taken."""
    openings: Path
    """Of matches."""
    final_games: int = 0
    """Of the last best against the start."""
    threads: int = 2
    backend: str = "auto"
    """What computes the network in games."""
    command: str = ""
    """What was asked for, in words that are kept with weights and memories."""

    @property
    def settings(self) -> dict[str, str]:
        """What all generations have in common."""
        return {item.name: str(getattr(self, item.name)) for item in fields(self) if item.name not in NOT_SETTINGS}


@dataclass(frozen=True)
class ImproveReport:
    """The generations of a run."""

    generations: Sequence[Generation]
    files: Sequence[Path]
    """The record and a picture of it."""

    @property
    def best(self) -> int:
        """The best generation; 0 is the start."""
        return best_of(self.generations)

    def __str__(self) -> str:
        lines = [TABLE_HEAD, *(generation.row() for generation in self.generations)]
        if self.generations:
            lines.append(f"wrote {' and '.join(map(str, self.files))}; the best is generation {self.best}")
        return "\n".join(lines)


class Loop:
    """A run: its folder, and what is done in each stage."""

    def __init__(self, run: ImproveRun, complain: Callable[[str], None], load: EvaluatorFactory = load_network) -> None:
        """`complain` gets what engines complain of. Raises GenerationError."""
        self.config = run
        self.complain = complain
        self.record = run.folder / "generations.jsonl"
        self.generations = read_generations(self.record)

        # Not as options: those are settings of the games, and these may change when a run goes on.
        def load_here(files: Wanted) -> Evaluator:
            return load(files._replace(threads=run.threads, backend=run.backend))

        self.load = load_here

    def folder(self, number: int) -> Path:
        return self.config.folder / f"generation-{number:03d}"

    def contestant(self, number: int) -> Contestant:
        """A generation's files; 0 is the start."""
        name, folder = f"generation-{number:03d}", self.folder(number)
        if number == 0:
            return Contestant(name, self.config.start, self.config.start_memory)
        if not self.config.has_memory:
            return Contestant(name, folder / "backbone" / "weights.safetensors", None)
        return Contestant(name, folder / "retrieval" / "weights.safetensors", folder / "memory.safetensors")

    @property
    def best(self) -> int:
        return best_of(self.generations)

    def data(self, number: int) -> list[Path]:
        """What generation `number` is trained on."""
        first = max(1, number - self.config.window + 1)
        return [*map(self.games, range(first, number + 1)), *self.config.data]

    def games(self, number: int) -> Path:
        """The folder of a generation's games of self-play."""
        return self.folder(number) / "games"

    def command(self, number: int) -> str:
        """What is kept with the files of a generation."""
        return f"{self.config.command}, generation {number}"

    # The stages of a generation

    def play(self, number: int) -> None:
        """Games of the best network with itself."""
        config = self.config
        if len(Shards(self.games(number)).done) >= config.games:
            return
        run = SelfPlayRun(
            out=self.games(number),
            games=config.games,
            nodes=config.nodes,
            max_plies=config.max_plies,
            resign=config.resign,
            options={**self.contestant(self.best).options, **config.options},
            at_once=config.at_once,
            random_plies=config.random_plies,
            openings=config.self_play_openings,
            seed=number,
        )
        tell(str(play_games(run, self.complain, self.load)))

    def train(self, number: int) -> None:
        """Backbone and heads, from those of the best network on."""
        run = self.folder(number) / "backbone"
        if (run / "weights.safetensors").exists():
            return
        report = train_backbone(
            BackboneRun(
                **self._training(number),
                folder=run,
                steps=self.config.steps,
                decay=0.5,
                start_from=self.contestant(self.best).weights,
            )
        )
        tell(str(report))

    def remember(self, number: int) -> None:
        """A memory of the games kept for it, made with the new backbone: an older one would be stale."""
        out = self.folder(number) / "memory.safetensors"
        if not self.config.has_memory or out.exists():
            return
        weights = self.folder(number) / "backbone" / "weights.safetensors"
        report = make_memory(
            MemoryRun(
                out,
                weights,
                data=self.data(number),
                entries=self.config.entries,
                threads=self.config.threads,
                command=self.command(number),
            ),
            self.complain,
        )
        tell(str(report))

    def retrieve(self, number: int) -> None:
        """The retrieval part, on the frozen backbone, from that of the best network on where it has one."""
        folder = self.folder(number)
        run = folder / "retrieval"
        if not self.config.has_memory or (run / "weights.safetensors").exists():
            return
        best = self.contestant(self.best).weights
        network, _ = load_weights(best)
        has_retrieval = network.retrieval is not None
        report = train_retrieval(
            RetrievalRun(
                **self._training(number),
                folder=run,
                steps=self.config.retrieval_steps,
                weights=folder / "backbone" / "weights.safetensors",
                memory=folder / "memory.safetensors",
                start_from=best if has_retrieval else None,
                # The part has the shape that it was trained with.
                interpolation=network.config.interpolation or not has_retrieval,
            )
        )
        tell(str(report))

    def _training(self, number: int) -> dict[str, Any]:
        """What both trainings have in common."""
        config = self.config
        return {
            "data": self.data(number),
            "batch": config.batch,
            "learning_rate": config.learning_rate,
            "threads": config.threads,
            "sources": config.sources,
            "result_weight": config.result_weight,
            "held_out": 4096,
            "held_out_source": SOURCE,
            "checkpoint_every": 100,
            "seed": number,
            "command": self.command(number),
        }

    def gate(self, number: int) -> None:
        """The match against the best network."""
        self._play(self._gate(number), number, self.config.gate_games, self.config.sprt)

    def _gate(self, number: int) -> Gate:
        return Gate(self.contestant(number), self.contestant(self.best), self.folder(number) / "gate.pgn")

    def meet_the_start(self) -> None:
        """A match of the best network against the start."""
        pgn = self.config.folder / f"generation-{self.best:03d}-against-start.pgn"
        self._play(Gate(self.contestant(self.best), self.contestant(0), pgn), self.best, self.config.final_games, None)

    def _play(self, gate: Gate, seed: int, games: int, sprt: Sprt | None) -> None:
        """Play what is missing of a match."""
        gate.play(
            nodes=self.config.gate_nodes,
            games=games,
            openings=read_openings(self.config.openings),
            seed=seed,
            at_once=self.config.at_once,
            sprt=sprt,
            load=self.load,
            say=tell,
            complain=self.complain,
        )

    # A generation as a whole

    def run(self, number: int) -> Generation:
        """Do what is left of a generation, and record it."""
        stages: dict[str, Callable[[int], None]] = {
            "self-play": self.play,
            "training": self.train,
            "memory": self.remember,
            "retrieval": self.retrieve,
            "gate": self.gate,
        }
        seconds = {}
        for name, stage in stages.items():
            print(f"\ngeneration {number}, {name}", flush=True)
            start = time.monotonic()
            stage(number)
            seconds[name] = round(time.monotonic() - start)
        generation = self._gated(number, seconds)
        self.generations.append(generation)
        write_generations(self.record, self.generations)
        draw(self.generations, self.config.folder / "elo.png")
        return generation

    def _gated(self, number: int, seconds: dict[str, int]) -> Generation:
        """The record of a generation whose match is over."""
        sprt, opponent = self.config.sprt, self.best
        found = self._gate(number).results()
        estimated = estimate(found.pairs)
        llr = sprt.log_likelihood_ratio(found.pairs)
        accepted = sprt.accepted(found.pairs)
        data = open_data([self.games(number)])
        wrong = None
        if self.config.resign:
            rule = Resignation(self.config.resign)
            wrong = _finite(check(searched_games(data), rule).false_positives)
        candidate = self.contestant(number)
        return Generation(
            number=number,
            opponent=opponent,
            self_play_games=len(data.split),
            positions=len(data),
            wrong_resignations=wrong,
            held_out=load_weights(candidate.weights)[1].get("training.held_out", ""),
            memory_entries=0 if candidate.memory is None else len(Memory.open(candidate.memory)),
            wins=found.wins,
            draws=found.draws,
            losses=found.losses,
            elo=_finite(estimated.elo),
            elo_error=_finite(estimated.elo_error),
            llr=round(llr, 3),
            # Where the games did not suffice, the likelier hypothesis is taken.
            promoted=accepted == "H1" or (accepted is None and llr > 0),
            seconds=seconds,
        )


def _finite(number: float) -> float | None:
    return round(number, 4) if math.isfinite(number) else None


def tell(text: str) -> None:
    """Say what happens."""
    print(text, flush=True)


def improve(run: ImproveRun, complain: Callable[[str], None], load: EvaluatorFactory = load_network) -> ImproveReport:
    """Run the generations that are missing; `complain` gets what engines complain of.

    Raises RunFolderError, GenerationError, PlayerError, RecordError, and what the stages raise.
    """
    load_weights(run.start)  # before anything is written
    claim(run.folder, run.settings)
    loop = Loop(run, complain, load)
    for number in range(len(loop.generations) + 1, run.generations + 1):
        tell(f"\n{TABLE_HEAD}\n{loop.run(number).row()}")
    picture = run.folder / "elo.png"
    if loop.generations:
        draw(loop.generations, picture)
    return ImproveReport(loop.generations, [loop.record, picture])


def meet_the_start(run: ImproveRun, complain: Callable[[str], None], load: EvaluatorFactory = load_network) -> None:
    """The final match of the best network against the start. Raises PlayerError and RecordError."""
    loop = Loop(run, complain, load)
    if run.final_games and loop.best:
        tell(f"\nthe best, generation {loop.best}, against the start")
        loop.meet_the_start()
