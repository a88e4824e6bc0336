"""A run of reinforcement learning: its folder, and what is done in each stage of a generation."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import selfplay

from dejavu.engine.match.openings import read_openings
from dejavu.engine.match.statistics import Sprt, estimate
from dejavu.engine.search.evaluator import Evaluator
from dejavu.engine.selfplay.gate import Contestant, Gate
from dejavu.engine.selfplay.generations import Generation, best_of, draw, read_generations, write_generations
from dejavu.engine.selfplay.resignation import Resignation, check, searched_games
from dejavu.engine.uci.loader import EvaluatorFactory
from dejavu.model.data.memory_run import MemoryRun, make_memory
from dejavu.model.data.shards import Shards, open_data
from dejavu.model.training.backbone_run import BackboneRun, train_backbone
from dejavu.model.training.retrieval_run import RetrievalRun, train_retrieval
from dejavu.model.weights import load_weights
from dejavu.retrieval.memory import Memory


class Loop:
    """A run: its folder, and what is done in each stage."""

    def __init__(self, arguments: argparse.Namespace, load: EvaluatorFactory) -> None:
        self.arguments = arguments
        self.record = arguments.run / "generations.jsonl"
        self.generations = read_generations(self.record)

        # Not as options: those are settings of the games, and these may change when a run goes on.
        def load_here(weights: Path, memory: Path | None, threads: int, backend: str) -> Evaluator:
            return load(weights, memory, arguments.threads, arguments.backend)

        self.load = load_here

    def folder(self, number: int) -> Path:
        return Path(self.arguments.run) / f"generation-{number:03d}"

    def contestant(self, number: int) -> Contestant:
        """A generation's files; 0 is the start."""
        name, folder = f"generation-{number:03d}", self.folder(number)
        if number == 0:
            return Contestant(name, self.arguments.start, self.arguments.start_memory)
        if self.arguments.no_memory:
            return Contestant(name, folder / "backbone" / "weights.safetensors", None)
        return Contestant(name, folder / "retrieval" / "weights.safetensors", folder / "memory.safetensors")

    @property
    def best(self) -> int:
        return best_of(self.generations)

    def data(self, number: int) -> list[Path]:
        """What generation `number` is trained on."""
        first = max(1, number - self.arguments.window + 1)
        return [*map(self.games, range(first, number + 1)), *self.arguments.data]

    def games(self, number: int) -> Path:
        """The folder of a generation's games of self-play."""
        return self.folder(number) / "games"

    # The stages of a generation

    def play(self, number: int) -> None:
        """Games of the best network with itself."""
        arguments, best = self.arguments, self.contestant(self.best)
        if len(Shards(self.games(number)).done) >= arguments.games:
            return
        words = ["--out", self.games(number), "--games", arguments.games, "--at-once", arguments.at_once]
        words += ["--nodes", arguments.nodes, "--max-plies", arguments.max_plies, "--resign", arguments.resign]
        words += ["--random-plies", arguments.random_plies]
        words += ["--openings", arguments.self_play_openings] if arguments.self_play_openings is not None else []
        words += ["--seed", number, "--options", *(f"{name}={value}" for name, value in best.options.items())]
        words += arguments.options
        selfplay.main([str(word) for word in words], self.load)

    def train(self, number: int) -> None:
        """Backbone and heads, from those of the best network on."""
        run = self.folder(number) / "backbone"
        if (run / "weights.safetensors").exists():
            return
        report = train_backbone(
            BackboneRun(
                **self._training(number),
                folder=run,
                steps=self.arguments.steps,
                decay=0.5,
                start_from=self.contestant(self.best).weights,
            )
        )
        tell(str(report))

    def remember(self, number: int) -> None:
        """A memory of the games kept for it, made with the new backbone: an older one would be stale."""
        out = self.folder(number) / "memory.safetensors"
        if self.arguments.no_memory or out.exists():
            return
        weights = self.folder(number) / "backbone" / "weights.safetensors"
        report = make_memory(
            MemoryRun(
                out,
                weights,
                data=self.data(number),
                entries=self.arguments.entries,
                threads=self.arguments.threads,
                command=f"{self.arguments.command}, generation {number}",
            ),
            complain,
        )
        tell(str(report))

    def retrieve(self, number: int) -> None:
        """The retrieval part, on the frozen backbone, from that of the best network on where it has one."""
        folder = self.folder(number)
        run = folder / "retrieval"
        if self.arguments.no_memory or (run / "weights.safetensors").exists():
            return
        best = self.contestant(self.best).weights
        network, _ = load_weights(best)
        has_retrieval = network.retrieval is not None
        report = train_retrieval(
            RetrievalRun(
                **self._training(number),
                folder=run,
                steps=self.arguments.retrieval_steps,
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
        arguments = self.arguments
        return {
            "data": self.data(number),
            "batch": arguments.batch,
            "learning_rate": arguments.learning_rate,
            "threads": arguments.threads,
            "sources": arguments.sources,
            "result_weight": arguments.result_weight,
            "held_out": 4096,
            "held_out_source": selfplay.SOURCE,
            "checkpoint_every": 100,
            "seed": number,
            "command": f"{arguments.command}, generation {number}",
        }

    def gate(self, number: int) -> None:
        """The match against the best network."""
        self._play(self._gate(number), number, self.arguments.gate_games, self.arguments.sprt)

    def _gate(self, number: int) -> Gate:
        return Gate(self.contestant(number), self.contestant(self.best), self.folder(number) / "gate.pgn")

    def meet_the_start(self, games: int) -> None:
        """A match of the best network against the start."""
        pgn = self.arguments.run / f"generation-{self.best:03d}-against-start.pgn"
        self._play(Gate(self.contestant(self.best), self.contestant(0), pgn), self.best, games, None)

    def _play(self, gate: Gate, seed: int, games: int, sprt: Sprt | None) -> None:
        """Play what is missing of a match."""
        gate.play(
            nodes=self.arguments.gate_nodes,
            games=games,
            openings=read_openings(self.arguments.openings),
            seed=seed,
            at_once=self.arguments.at_once,
            sprt=sprt,
            load=self.load,
            say=tell,
            complain=complain,
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
        generation = self._judged(number, seconds)
        self.generations.append(generation)
        write_generations(self.record, self.generations)
        draw(self.generations, self.arguments.run / "elo.png")
        return generation

    def _judged(self, number: int, seconds: dict[str, int]) -> Generation:
        """The record of a generation whose match is over."""
        sprt, opponent = self.arguments.sprt, self.best
        found = self._gate(number).results()
        estimated = estimate(found.pairs)
        llr = sprt.log_likelihood_ratio(found.pairs)
        verdict = sprt.verdict(found.pairs)
        data = open_data([self.games(number)])
        wrong = None
        if self.arguments.resign:
            rule = Resignation(self.arguments.resign)
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
            # Where the games did not suffice for a verdict, the likelier hypothesis is taken.
            promoted=verdict == "H1" or (verdict is None and llr > 0),
            seconds=seconds,
        )


def _finite(number: float) -> float | None:
    return round(number, 4) if math.isfinite(number) else None


def tell(text: str) -> None:
    """Say what happens."""
    print(text, flush=True)


def complain(text: str) -> None:
    """Pass on what the engine says."""
    print(f"improve: {text}", file=sys.stderr, flush=True)
