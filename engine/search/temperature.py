"""Variety: a root move drawn at random, in proportion to its visits, instead of the best one (AlphaZero, lc0)."""

from __future__ import annotations

import random
from dataclasses import dataclass

import chess
import numpy as np
from numpy.typing import NDArray

from dejavu.engine.search.tree import LOST, UNPROVEN, Tree
from dejavu.model.chess.encoding import index_to_move


def decayed(temperature: float, decay_moves: int, moves: int) -> float:
    """The temperature after `moves` full moves of a game: falls linearly to 0 over `decay_moves`, 0 is never (lc0)."""
    return temperature * (1 - min(moves, decay_moves) / decay_moves) if decay_moves else temperature


def move_probabilities(weights: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Wdl in proportion to weight^(1/temperature), for any temperature above 0; weights [M], at least one > 0."""
    with np.errstate(divide="ignore", over="ignore"):
        logits = np.log(weights / weights.max()) / temperature
    powers = np.exp(logits)
    result: NDArray[np.float64] = powers / powers.sum()
    return result


@dataclass(frozen=True)
class RandomChoice:
    """Draws among the root moves that are not known to lose: by their N, or by P where none has been visited."""

    temperature: float
    generator: random.Random

    def edge_index(self, tree: Tree, root: int, board: chess.Board) -> int | None:
        """The index of the drawn move among the edges of `root`, or None if chance has no say.

        That is so where the result is proven, and where a move mates at once.
        """
        if tree.proof[root] != UNPROVEN:
            return None
        children = tree.children[root]
        weights = [0.0 if tree.proof[child] == LOST else float(tree.visits[child]) for child in children]
        if not any(weights):
            if children or _mates(tree, root, board):
                return None
            first = tree.first_edge[root]
            weights = tree.edge_prior[first : first + tree.edge_count[root]].tolist()
        likely = move_probabilities(np.array(weights, np.float64), self.temperature)
        return self.generator.choices(range(len(likely)), likely.tolist())[0]


def _mates(tree: Tree, root: int, board: chess.Board) -> bool:
    """Whether the first unvisited move mates: the evaluator puts a mating move first."""
    after = board.copy(stack=False)
    after.push(index_to_move(tree.next_move(root), board))
    return after.is_checkmate()
