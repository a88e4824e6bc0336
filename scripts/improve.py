"""Let the engine teach itself, generation after generation.

    python scripts/improve.py --run runs/improve --start runs/weak/weights.safetensors --generations 10
    python scripts/improve.py --run runs/improve --start runs/weak/weights.safetensors --generations 20 --games 200 \
        --nodes 100 --data runs/data.safetensors --sources self-play=3,teacher=1 --final-games 400

Each generation: games of the best network with itself -> training on the games of the last generations -> a memory made
with the new backbone -> a short training of the retrieval part -> a match against the best network, ended by a
sequential test -> promoted, or rejected. Every stage goes on where it was after a kill: the same command does it, and
more with more --generations. `generations.jsonl` and `elo.png` in the run's folder tell what came of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import build_memory
import selfplay
import train
from command_line.arguments import OPENINGS, many, number_between, share

from dejavu.engine.evaluator import Evaluator
from dejavu.engine.loader import EvaluatorFactory, load_network
from dejavu.engine.match.adjudication import DrawRule, ResignRule, Rules
from dejavu.engine.match.batch import run_batched
from dejavu.engine.match.openings import OpeningError, read_openings
from dejavu.engine.match.pace import Pace
from dejavu.engine.match.players import PlayerError, PlayerSettings
from dejavu.engine.match.record import PlayedGame, Record, RecordError, results
from dejavu.engine.match.report import full_report, score_line
from dejavu.engine.match.schedule import schedule
from dejavu.engine.match.statistics import Results, Sprt, SprtError, estimate
from dejavu.engine.match.tournament import Tournament
from dejavu.engine.selfplay.generations import (
    TABLE_HEAD,
    Generation,
    GenerationError,
    best_of,
    draw,
    read_generations,
    write_generations,
)
from dejavu.engine.selfplay.resignation import check, searched_games
from dejavu.model.training.shards import Shards, open_data
from dejavu.model.weights import WeightsError, load_weights
from dejavu.retrieval.memory import Memory, MemoryFileError

RULES = Rules(
    draw=DrawRule(movenumber=60, movecount=10, score=10),
    resign=ResignRule(movecount=4, score=800, twosided=True),
    maxmoves=100,
)
"""What ends the games of a gate early."""
GATE_OPTIONS = {name: selfplay.OPTIONS[name] for name in ("MinibatchSize", "Hash")}


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A generation as it plays."""

    weights: Path
    memory: Path | None

    @property
    def options(self) -> dict[str, str]:
        """UCI options."""
        return {"WeightsFile": str(self.weights), "MemoryFile": str(self.memory or "")}


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
        if number == 0:
            return Contestant(self.arguments.start, self.arguments.start_memory)
        folder = self.folder(number)
        if self.arguments.no_memory:
            return Contestant(folder / "backbone" / "weights.safetensors", None)
        return Contestant(folder / "retrieval" / "weights.safetensors", folder / "memory.safetensors")

    @property
    def best(self) -> int:
        return best_of(self.generations)

    def data(self, number: int) -> list[str]:
        """What generation `number` is trained on."""
        first = max(1, number - self.arguments.window + 1)
        return [str(path) for path in (*map(self.games, range(first, number + 1)), *self.arguments.data)]

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
        words += ["--seed", number, "--options", *(f"{name}={value}" for name, value in best.options.items())]
        words += arguments.options
        selfplay.main([str(word) for word in words], self.load)

    def train(self, number: int) -> None:
        """Backbone and heads, from those of the best network on."""
        run = self.folder(number) / "backbone"
        if (run / "weights.safetensors").exists():
            return
        arguments = self.arguments
        words = ["backbone", "--run", run, "--start-from", self.contestant(self.best).weights]
        words += ["--steps", arguments.steps, "--decay", 0.5, "--result-weight", arguments.result_weight]
        train.main([*map(str, words), *self._training(number)])

    def remember(self, number: int) -> None:
        """A memory of the games kept for it, made with the new backbone: an older one would be stale."""
        out = self.folder(number) / "memory.safetensors"
        if self.arguments.no_memory or out.exists():
            return
        weights = self.folder(number) / "backbone" / "weights.safetensors"
        words = ["--data", *self.data(number), "--weights", weights, "--out", out, "--threads", self.arguments.threads]
        build_memory.main([*map(str, words), "--entries", str(self.arguments.entries)])

    def retrieve(self, number: int) -> None:
        """The retrieval part, on the frozen backbone, from that of the best network on where it has one."""
        folder = self.folder(number)
        run = folder / "retrieval"
        if self.arguments.no_memory or (run / "weights.safetensors").exists():
            return
        words = ["retrieval", "--run", run, "--weights", folder / "backbone" / "weights.safetensors"]
        words += ["--memory", folder / "memory.safetensors", "--steps", self.arguments.retrieval_steps]
        best = self.contestant(self.best).weights
        network, _ = load_weights(best)
        if network.retrieval is not None:
            words += ["--start-from", best]
            # The part has the shape that it was trained with.
            words += [] if network.config.interpolation else ["--attention-alone"]
        train.main([*map(str, words), *self._training(number)])

    def _training(self, number: int) -> list[str]:
        """What both trainings have in common."""
        arguments = self.arguments
        words = ["--data", *self.data(number), "--batch", arguments.batch, "--learning-rate", arguments.learning_rate]
        words += ["--threads", arguments.threads, "--held-out-source", selfplay.SOURCE, "--held-out", 4096]
        words += ["--checkpoint-every", 100, "--seed", number]
        words += ["--sources", arguments.sources] if arguments.sources else []
        return [str(word) for word in words]

    def gate(self, number: int) -> None:
        """The match against the best network."""
        self.match(number, self.best, self.arguments.gate_games, self.arguments.sprt, self.pgn(number))

    def pgn(self, number: int) -> Path:
        """The games of a generation's gate."""
        return self.folder(number) / "gate.pgn"

    def match(self, number: int, opponent: int, games: int, sprt: Sprt | None, pgn: Path) -> Results:
        """What a generation achieves against another; plays the games that are missing."""
        arguments = self.arguments
        names = [f"generation-{n:03d}" for n in (number, opponent)]
        players = {
            name: PlayerSettings(
                name, (), Pace(nodes=arguments.gate_nodes), {**self.contestant(n).options, **GATE_OPTIONS}
            )
            for name, n in zip(names, (number, opponent), strict=True)
        }
        planned = schedule(names, read_openings(arguments.openings), games, gauntlet=False, seed=number)
        event = f"{names[0]} against {names[1]}"
        # A test can end a match early only if not all of its games are under way at once.
        at_once = min(arguments.at_once, max(2, games // 4))
        tournament = Tournament(event, players, planned, RULES, sprt, at_once)
        record = Record(pgn, event)
        print(f"{event}: {len(record.games)} of up to {games} games played", flush=True)

        def finished(game: PlayedGame) -> None:
            if len(record.games) % 10 == 0:
                print(f"{len(record.games):>4}  {score_line(self._results(record, names), sprt)}", flush=True)

        run_batched(tournament, record, finished, complain, self.load)
        print(full_report(record.games, names, "", sprt), flush=True)
        return self._results(record, names)

    def _results(self, record: Record, names: Sequence[str]) -> Results:
        return results(record.games, names[0], names[1:])

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
        names = [f"generation-{n:03d}" for n in (number, opponent)]
        found = self._results(Record(self.pgn(number), f"{names[0]} against {names[1]}"), names)
        estimated = estimate(found.pairs)
        llr = sprt.log_likelihood_ratio(found.pairs)
        verdict = sprt.verdict(found.pairs)
        data = open_data([self.games(number)])
        rule = selfplay.conditions(selfplay.parse_arguments(["--resign", str(self.arguments.resign)])).resignation
        wrong = None if rule is None else _finite(check(searched_games(data), rule).false_positives)
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


def improve(arguments: argparse.Namespace, load: EvaluatorFactory) -> None:
    """Run the generations that are missing, and compare the last best with the start."""
    settings = {
        name: str(value)
        for name, value in vars(arguments).items()
        if name not in ("run", "generations", "final_games", "threads", "backend", "at_once")
    }
    load_weights(arguments.start)  # before anything is written
    selfplay.claim(arguments.run, settings)
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
        pgn = arguments.run / f"generation-{loop.best:03d}-against-start.pgn"
        loop.match(loop.best, 0, arguments.final_games, None, pgn)


def sprt_bounds(text: str) -> Sprt:
    """Parse ELO0,ELO1."""
    try:
        low, high = map(float, text.split(","))
        return Sprt(low, high)
    except SprtError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not ELO0,ELO1") from None


def complain(text: str) -> None:
    """Pass on what the engine says."""
    print(f"improve: {text}", file=sys.stderr, flush=True)


def parse_arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/improve"), help="folder of the run (runs/improve)")
    parser.add_argument("--start", type=Path, required=True, metavar="WEIGHTS", help="the network to begin with")
    parser.add_argument("--start-memory", type=Path, metavar="MEMORY", help="its memory (default: none)")
    parser.add_argument("--generations", type=many, default=10, help="in all, those there already included (10)")
    parser.add_argument("--games", type=many, default=200, help="games of self-play a generation (200)")
    parser.add_argument("--nodes", type=many, default=100, help="nodes a move in self-play (100)")
    parser.add_argument(
        "--max-plies", type=many, default=240, help="a game of self-play of so many plies is drawn (240)"
    )
    parser.add_argument("--resign", type=share, default=0.95, help="give up at Q <= -VALUE; 0 never (0.95)")
    parser.add_argument("--options", nargs="+", default=[], metavar="NAME=VALUE", help="UCI options of self-play")
    parser.add_argument("--at-once", type=many, default=64, help="games at the same time (64)")
    parser.add_argument("--window", type=many, default=5, help="generations whose games are trained on (5)")
    parser.add_argument(
        "--data", type=Path, nargs="+", default=[], help="data sets of scripts/prepare_data.py to train on, too"
    )
    parser.add_argument("--sources", metavar="NAME=WEIGHT,...", help="shares of self-play and of the data in a batch")
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
    parser.add_argument(
        "--openings",
        type=Path,
        default=OPENINGS,
        metavar="FILE",
        help="of these games: EPD, PGN, or TSV (ECO, name, moves)",
    )
    parser.add_argument(
        "--final-games",
        type=number_between(int, 0, 999_999),
        default=0,
        help="games of the last best against the start (0)",
    )
    parser.add_argument("--threads", type=many, default=2, help="CPU threads (2)")
    parser.add_argument("--backend", default="auto", help="what computes the network in games (auto)")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None, load: EvaluatorFactory = load_network) -> None:
    """Run the command line `words`, or that of the process."""
    arguments = parse_arguments(words)
    try:
        improve(arguments, load)
    except (
        selfplay.SelfPlayError,
        GenerationError,
        PlayerError,
        OpeningError,
        RecordError,
        WeightsError,
        MemoryFileError,
        OSError,
    ) as error:
        sys.exit(f"improve: {error}")
    except KeyboardInterrupt:
        print("improve: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
