"""Whether the engine learns from a memory alone: positions where it errs are added, and it is asked again."""

from __future__ import annotations

import queue
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chess
import chess.pgn
import numpy as np
import torch
from numpy.typing import NDArray

from dejavu.engine.annotation.lessons import add_labelled, to_text
from dejavu.engine.loader import load_network
from dejavu.engine.options import Config
from dejavu.engine.search.limits import Limits
from dejavu.engine.search.lines import BestMove
from dejavu.engine.uci.session import Session
from dejavu.model.chess.encoding import REPEATED, index_to_move, move_to_index, unpack
from dejavu.model.data.dataset import HELD_OUT, MEMORY, Dataset, DatasetError
from dejavu.model.data.games import read_game
from dejavu.model.data.records import join, positions
from dejavu.model.inference import NetworkEvaluator, load_backbone
from dejavu.model.measurement.measures import MEASURES, measure
from dejavu.model.weights import read_weights
from dejavu.retrieval.memory import Memory
from dejavu.retrieval.progress import followed, print_above
from dejavu.retrieval.remember import add

BATCH = 64
NODES = (1, 100)
"""Of the searches that show whether a lesson is played."""


@dataclass(frozen=True)
class TeachRun:
    """What is taught, to which network and memory."""

    data: Path
    weights: Path
    memory: Path
    source: str | None = None
    """Only game files with this in their name."""
    positions: int = 200
    """Taught."""
    others: int = 8192
    """Other positions looked at before and after."""
    threads: int = field(default_factory=torch.get_num_threads)


@dataclass(frozen=True)
class TeachReport:
    """What came of it."""

    taught: int
    others: int
    played: dict[int, float]
    """Share of the lessons played, by nodes."""
    top1_before: float
    """Of the other positions."""
    top1_after: float

    def __str__(self) -> str:
        played = ", ".join(f"{share:.1%} at {nodes} node{'s' * (nodes > 1)}" for nodes, share in self.played.items())
        return (
            f"{self.taught:,} positions taught where the engine erred at 1 node; it plays the lesson in\n{played}\n"
            f"top-1 of {self.others:,} others: {self.top1_before:.2%} before, {self.top1_after:.2%} after"
        )

    def as_json(self) -> dict[str, Any]:
        """The figures."""
        return {
            "taught": self.taught,
            "others": self.others,
            **{f"played at {nodes} nodes": share for nodes, share in self.played.items()},
            "top1 of others before": self.top1_before,
            "top1 of others after": self.top1_after,
        }


def teach(run: TeachRun) -> TeachReport:
    """Teach, ask again, and say what came of it. Raises DatasetError, WeightsError and MemoryFileError."""
    weights, threads = run.weights, run.threads
    dataset = Dataset.open(run.data)
    rows = np.random.default_rng(0).permutation(dataset.rows(HELD_OUT, run.source))
    # A board alone does not say that it is repeated, so such a position would be another one as a game.
    rows = rows[dataset.clocks[rows] < REPEATED]
    memory = Memory.open(run.memory, read_weights(weights)[0].fingerprint)
    taught = errors(TaughtEngine(weights, run.memory, threads), dataset, rows, run.positions)
    if not taught:
        raise DatasetError(f"{run.data} has no held-out position where the engine errs")
    others = rows[~np.isin(rows, taught)][: run.others]  # in the order of `rows`, by chance
    played: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.safetensors"
        with_lessons(memory, weights, threads, dataset, taught).write(path)
        after = TaughtEngine(weights, path, threads)
        for nodes in NODES:
            found = [after.plays(dataset, row, nodes) for row in followed(taught, f"{nodes} nodes", "positions")]
            played[nodes] = sum(found) / len(found)
        before = top1(weights, run.memory, threads, dataset, others, "before")
        return TeachReport(
            len(taught), len(others), played, before, top1(weights, path, threads, dataset, others, "after")
        )


class TaughtEngine:
    """The engine with one memory, asked for its move position by position."""

    def __init__(self, weights: Path, memory: Path, threads: int) -> None:
        self.session = Session(load_network, print_above)
        config = Config(threads=threads, learn="off", weights_file=str(weights), memory_file=str(memory))
        self.session.configure(config)

    def plays(self, dataset: Dataset, row: int, nodes: int) -> bool:
        """Whether the engine finds the best move of a position with so many nodes."""
        board = unpack(dataset.planes[row], int(dataset.clocks[row]))
        answers: queue.Queue[BestMove] = queue.Queue()
        self.session.new_game()
        self.session.set_position(board.fen(), [])
        self.session.go(Limits(nodes=nodes), lambda info: None, answers.put)
        move = answers.get().move
        return move is not None and move_to_index(chess.Move.from_uci(move), board) == dataset.best[row]


def lesson(dataset: Dataset, row: int) -> str:
    """A game of one move, the best one, as PGN."""
    game = chess.pgn.Game()
    board = unpack(dataset.planes[row], int(dataset.clocks[row]))
    game.setup(board)
    add_labelled(game, index_to_move(int(dataset.best[row]), board), None, None)
    return to_text(game)


def errors(engine: TaughtEngine, dataset: Dataset, rows: NDArray[np.int64], count: int) -> list[int]:
    """The first so many of `rows` where the engine errs at one node."""
    found: list[int] = []
    for row in followed(rows.tolist(), "looking for errors", "positions"):
        if len(found) == count:
            break
        if not engine.plays(dataset, row, nodes=1):
            found.append(row)
    return found


def with_lessons(memory: Memory, weights: Path, threads: int, dataset: Dataset, rows: list[int]) -> Memory:
    """The memory, and a lesson for each of `rows`."""
    games = [read_game(lesson(dataset, row)) for row in rows]
    lessons = join(games, [MEMORY] * len(games), [0] * len(games), ["lessons"])
    new = positions(lessons, np.arange(len(lessons)))
    names = [game.name for game in games]
    embed = load_backbone(weights, threads).embed_chunks
    return add(memory, new, names, "lessons", "2026-01-01", embed, lambda done, total: None)[0]


def top1(weights: Path, memory: Path, threads: int, dataset: Dataset, rows: NDArray[np.int64], name: str) -> float:
    """Share of `rows` whose best move the policy has first."""
    evaluator = NetworkEvaluator.load(weights, memory, threads)
    shares = []
    for start in followed(range(0, len(rows), BATCH), name, "batches"):
        some = rows[start : start + BATCH]
        answer = evaluator.evaluate(dataset.planes[some], dataset.clocks[some])
        shares.append(measure(answer, dataset.best[some], dataset.wdl_target(some))[:, MEASURES.index("top1")])
    return float(np.concatenate(shares).mean())
