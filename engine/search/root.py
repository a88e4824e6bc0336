"""What sets the root apart: the moves it may choose from, and priors that are not the network's alone."""

from __future__ import annotations

from typing import NamedTuple

import chess
import numpy as np

from dejavu.engine.options import Config
from dejavu.engine.search.evaluator import Expansion
from dejavu.engine.search.known_results import KnownResults
from dejavu.engine.search.mate_in_two import mate_in_two
from dejavu.engine.search.task import Task
from dejavu.model.chess.encoding import move_to_index


def of_root_moves(expansion: Expansion, task: Task) -> Expansion:
    """The root's expansion with the moves of the task and no others, their P scaled to the sum 1.

    Also with those that the evaluator has overlooked, which happens in positions that no game can reach.
    """
    allowed = {move_to_index(move, task.board) for move in task.root_moves}
    moves = np.frombuffer(expansion.moves, np.uint16)
    kept = np.array([move in allowed for move in moves.tolist()], bool)
    overlooked = sorted(allowed.difference(moves.tolist()))
    if kept.all() and not overlooked:
        return expansion
    priors = np.append(np.frombuffer(expansion.priors, np.float32)[kept], np.zeros(len(overlooked), np.float32))
    total = float(priors.sum())
    priors = priors / total if total > 0 else np.full(len(priors), 1 / len(priors))
    return expansion._replace(
        moves=np.append(moves[kept], np.array(overlooked, np.uint16)).tobytes(),
        priors=priors.astype(np.float32).tobytes(),
        mates=expansion.mates and bool(kept[0]),
    )


class KnownWin(NamedTuple):
    """A move of the root that is known to win before the search."""

    move: int
    """Policy index."""
    priors: dict[int, float]
    """P of all moves before this one got all of it."""


def prepare_root(task: Task, root: int, known: KnownResults, config: Config) -> KnownWin | None:
    """Give all of P to a move that is known to win, or mix noise into the priors of the root, which has its edges.

    Known is a mate in two, or what an earlier search has proven. Returns that move, None if there is none.
    """
    tree = task.tree
    if not tree.edge_count[root] or tree.proof[root]:
        return None
    mate = _mate_in_two(task, root, config)
    winning = known.proven_win(root) if mate is None else move_to_index(mate, task.board)
    moves, priors = tree.moves(root), tree.priors(root)
    wins = np.array(moves) == winning
    if wins.any():
        tree.set_priors(root, wins.astype(np.float32))
        return KnownWin(winning, dict(zip(moves, priors.tolist(), strict=True)))
    if task.noise is not None:
        tree.set_priors(root, task.noise.mixed(priors))
    return None


def give_back_priors(task: Task, root: int, win: KnownWin) -> None:
    """Take back from a move that was known to win what it got of P: it is proven, and other lines are asked for."""
    tree = task.tree
    tree.set_priors(root, np.array([win.priors[move] for move in tree.moves(root)], np.float32))


def _mate_in_two(task: Task, root: int, config: Config) -> chess.Move | None:
    if config.limit_strength or task.choice is not None:
        return None  # they are to err
    return mate_in_two(task.board, task.root_moves, {task.tree.key[root], *task.history})
