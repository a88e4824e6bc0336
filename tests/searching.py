"""One search of a position or a game, for tests."""

import itertools
from dataclasses import replace

import chess
import pytest

from dejavu.engine.options import Config
from dejavu.engine.search.clock import BatchPace
from dejavu.engine.search.endings import Endings
from dejavu.engine.search.evaluator import EvaluationCache, UniformEvaluator
from dejavu.engine.search.game import Game
from dejavu.engine.search.lines import BestMove, Info
from dejavu.engine.search.proofs import Proofs
from dejavu.engine.search.search import Search
from dejavu.engine.search.stoppers import NodesStopper, ProvenStopper
from dejavu.engine.search.tablebase import Tablebases
from dejavu.engine.search.task import Signals, Task
from dejavu.engine.search.tree import DRAWN, LOST, WON, Tree
from dejavu.model.chess.encoding import move_to_index, pack


def search(
    game: Game | str,
    nodes: int,
    evaluator: object = None,
    config: Config | None = None,
    memory: int = 2**30,
    tablebases: Tablebases | None = None,
    endings: Endings | None = None,
    proofs: Proofs | None = None,
) -> tuple[Search, BestMove, Info]:
    """Search a game or a FEN from a new tree; the search, its answer and its last report."""
    if isinstance(game, str):
        game = Game(game, chess960=False)
    tree = Tree(pack(game.board), game.board.halfmove_clock)
    stoppers = (ProvenStopper(), NodesStopper(nodes))
    task = Task(tree, 0, game.board, game.history, list(game.board.legal_moves), nodes, memory, stoppers, False)
    task = replace(task, proofs=proofs or {})
    infos: list[Info] = []
    run = Search(
        task,
        evaluator or UniformEvaluator(),  # type: ignore[arg-type]
        EvaluationCache(2**24),
        tablebases or Tablebases("", pytest.fail),
        endings or Endings(),
        config or Config(),
        BatchPace(),
        Signals(),
        infos.append,
        lambda text: None,
    )
    best = run.run()
    return run, best, infos[-1]


def child_named(run: Search, move: str) -> int:
    """The root's child behind a move in UCI notation; fails if it was not visited."""
    tree = run.tree
    child = tree.find_child(run.root, move_to_index(chess.Move.from_uci(move), run.task.board))
    assert child >= 0
    return child


def played(moves: str, fen: str | None = None) -> Game:
    """A game after some moves."""
    game = Game(fen, chess960=False)
    for move in moves.split():
        game.play(move)
    return game


def check_tree(run: Search, pruned: bool = False) -> None:
    """What must hold in any tree between searches; visits below a node may be missing from a pruned one."""
    tree = run.tree
    for node in range(len(tree)):
        assert tree.in_flight[node] == 0
        children = tree.children[node]
        assert abs(tree.value_sum[node]) <= tree.visits[node] + 1e-6
        if children:
            below = sum(tree.visits[child] for child in children)
            # A visit of a proven draw goes no deeper.
            missing = pruned or tree.proof[node]
            assert tree.visits[node] == 1 + below or (missing and tree.visits[node] > below)
            first = tree.first_edge[node]
            likely = tree.edge_prior[first : first + tree.edge_count[node]]
            assert all(a >= b for a, b in itertools.pairwise(likely))
            assert sum(likely) == pytest.approx(1, abs=1e-4)
            assert [tree.edge[child] for child in children] == list(range(first, first + len(children)))
            assert tree.visited_policy[node] == pytest.approx(sum(tree.prior[child] for child in children))
        if tree.proof[node]:
            value = {WON: 1, DRAWN: 0, LOST: -1}[tree.proof[node]]
            assert tree.value_sum[node] == pytest.approx(value * tree.visits[node], abs=1e-6)
