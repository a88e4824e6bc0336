"""The positions that `bench` searches, and what the search costs beside its network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import chess
import numpy as np
from numpy.typing import NDArray

from dejavu.engine.options import Config
from dejavu.engine.search.clock import BatchPace
from dejavu.engine.search.endings import Endings
from dejavu.engine.search.evaluator import EvaluationCache, Evaluator
from dejavu.engine.search.search import Search
from dejavu.engine.search.stoppers import NodesStopper, ProvenStopper
from dejavu.engine.search.tablebase import Tablebases
from dejavu.engine.search.task import Signals, Task
from dejavu.engine.search.tree import Tree
from dejavu.model.chess.encoding import pack
from dejavu.model.evaluations import Evaluations

POSITIONS = (
    "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1",
    "r1bqkbnr/pppp1ppp/2n5/1B2p3/4P3/5N2/PPPP1PPP/RNBQK2R b KQkq - 3 3",
    "rnbqkb1r/1p2pppp/p2p1n2/8/3NP3/2N5/PPP2PPP/R1BQKB1R w KQkq - 0 6",
    "rnbq1rk1/ppp1ppbp/3p1np1/8/2PPP3/2N2N2/PP2BPPP/R1BQK2R b KQ - 3 6",
    "r2q1rk1/pb1nbppp/1p2pn2/2pp4/2PP4/1P1BPN2/PB1N1PPP/R2Q1RK1 w - - 2 11",
    "2r2rk1/pp1bqppp/3ppn2/8/3QP3/2N5/PPP2PPP/1K1R1B1R w - - 0 14",
    "r1b2rk1/2q1bppp/p2ppn2/1p6/3QP3/1BN1B3/PPP2PPP/R4RK1 w - - 0 13",
    "4rrk1/pp3ppp/2p5/3p1b2/3P1Pq1/2NBP3/PPQ3PP/R4RK1 b - - 4 18",
    "8/5pk1/4p1p1/3pP2p/1p1P1P1P/1P2K1P1/8/8 w - - 0 40",
    "8/8/1p1r1kp1/p1p2p1p/P1P2P1P/1P2R1P1/6K1/8 b - - 0 38",
    "6k1/5p1p/4p1p1/1Q6/3q4/6P1/5P1P/6K1 b - - 1 33",
    "8/2k5/3b4/2pP1p2/1pP1pP2/1P2B3/5K2/8 w - - 0 50",
)
"""Openings, middlegames and endings of different character."""


class RecordingEvaluator:
    """Passes everything on to another evaluator, and keeps what it was asked."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator
        self.memory_reach = evaluator.memory_reach
        self.batches: list[tuple[NDArray[np.uint64], NDArray[np.uint8]]] = []

    def evaluate(self, planes: NDArray[np.uint64], clocks: NDArray[np.uint8], memory: bool = True) -> Evaluations:
        """See `Evaluator.evaluate`."""
        self.batches.append((planes, clocks))
        return self.evaluator.evaluate(planes, clocks, memory)

    def describe(self) -> str:
        """See `Evaluator.describe`."""
        return self.evaluator.describe()


@dataclass(frozen=True)
class Cost:
    """Searches of some positions, each from an empty tree and without a cache."""

    nodes: int
    seconds: float
    evaluated: int
    """Positions the evaluator was asked."""
    evaluator_seconds: float
    """What the evaluator takes for the same batches without a search."""

    @property
    def efficiency(self) -> float:
        """Nodes a second over the positions a second of the evaluator alone."""
        return (self.nodes / self.seconds) / (self.evaluated / self.evaluator_seconds)


def grow(evaluator: Evaluator, fen: str, nodes: int, config: Config) -> Tree:
    """The tree of a search of `nodes` nodes without a cache."""
    board = chess.Board(fen)
    tree = Tree(pack(board), board.halfmove_clock)
    stoppers = (ProvenStopper(), NodesStopper(nodes))
    task = Task(tree, 0, board, (), list(board.legal_moves), nodes, 2**40, stoppers, wait_for_stop=False)
    silent = _ignore
    cache, tables = EvaluationCache(0), Tablebases("", silent)
    Search(task, evaluator, cache, tables, Endings(), config, BatchPace(), Signals(), silent, silent).run()
    return tree


def cost(evaluator: Evaluator, fens: Sequence[str], nodes: int, config: Config) -> Cost:
    """Search the positions, then let the evaluator evaluate the same batches once more."""
    recording = RecordingEvaluator(evaluator)
    began = time.perf_counter()
    done = sum(grow(recording, fen, nodes, config).visits[0] for fen in fens)
    searched = time.perf_counter()
    for planes, clocks in recording.batches:
        evaluator.evaluate(planes, clocks, config.use_memory)
    repeated = time.perf_counter()
    evaluated = sum(len(planes) for planes, _ in recording.batches)
    return Cost(done, searched - began, evaluated, repeated - searched)


def _ignore(_: object) -> None:
    pass
