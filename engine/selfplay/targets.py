"""What a finished search teaches a network: how often each move was visited, and what the position is worth."""

from __future__ import annotations

from typing import NamedTuple

from dejavu.engine.search.lines import ranked_edges
from dejavu.engine.search.tree import LOST, UNPROVEN, Tree


class Target(NamedTuple):
    """Of one position, from the side to move."""

    moves: tuple[int, ...]
    """Policy indices."""
    visits: tuple[int, ...]
    """Of each move, at least 1."""
    wdl: tuple[float, float, float]
    """Win, draw, loss at the root; their sum is 1."""

    @property
    def best(self) -> int:
        """The move with the most visits."""
        return self.moves[self.visits.index(max(self.visits))]

    @property
    def value(self) -> float:
        """Q of the position, -1 to 1."""
        return self.wdl[0] - self.wdl[2]


def target(tree: Tree, root: int, draw_score: float) -> Target:
    """Of the tree's `root`, which has been searched.

    Visits say nothing where the result is proven, nor of moves that are proven to lose: there the best move is all.
    """
    first = tree.first_edge[root]
    kept = [child for child in tree.children[root] if tree.visits[child] and tree.proof[child] != LOST]
    if kept and tree.proof[root] == UNPROVEN:
        moves, visits = [tree.move_into(child) for child in kept], [tree.visits[child] for child in kept]
    else:
        moves, visits = [tree.edge_move[first + ranked_edges(tree, root, draw_score)[0]]], [1]
    q = -tree.value_sum[root] / tree.visits[root]
    draw = min(tree.draw_sum[root] / tree.visits[root], 1 - abs(q))
    return Target(tuple(moves), tuple(visits), ((1 + q - draw) / 2, draw, (1 - q - draw) / 2))
