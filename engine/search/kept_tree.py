"""The search tree that is kept from move to move, and the game it belongs to."""

from __future__ import annotations

from collections import Counter

from dejavu.engine.search.game import Game
from dejavu.engine.search.tree import DRAWN, NO_NODE, Tree
from dejavu.model.chess.encoding import Packed, pack


class KeptTree:
    """The tree of the last search, for the next one if that searches a position in it."""

    def __init__(self) -> None:
        self._tree: Tree | None = None
        self._game: Game | None = None
        """The game at the tree's first node."""

    def forget(self) -> None:
        """Keep nothing."""
        self._tree = self._game = None

    def root_of(self, game: Game, keep_rest: bool) -> tuple[Tree, int]:
        """The node of the game's position in the kept tree, or in a new one, which is kept from now on.

        With `keep_rest` the tree above the node is kept, too: while pondering, the opponent may still reply otherwise.
        """
        tree, start = self._tree, self._game
        if tree is not None and start is not None and game.continues(start):
            node = 0
            for index in game.indices[len(start.indices) :]:
                node = tree.find_child(node, index)
                if node == NO_NODE:
                    break
            # A draw proven by repetition need not be one for a game that has come to stand on it.
            if node != NO_NODE and tree.first_edge[node] >= 0 and tree.proof[node] != DRAWN:
                tree.forget_repetitions(node, _positions_above(tree, node) - _repeated(game))
                if keep_rest or node == 0:
                    return tree, node
                tree.reroot(node)
                self._game = game
                return tree, 0
        self._tree, self._game = new_tree(game), game
        return self._tree, 0


def _positions_above(tree: Tree, node: int) -> set[Packed]:
    """The positions between the tree's first node and `node`, without that."""
    positions = set()
    while (node := tree.parent[node]) != NO_NODE:
        positions.add(tree.key[node])
    return positions


def _repeated(game: Game) -> set[Packed]:
    """Positions that stood on the board more than once since the last capture or pawn move."""
    return {position for position, times in Counter(game.history).items() if times > 1}


def new_tree(game: Game) -> Tree:
    """A tree of one node, the position of `game`."""
    return Tree(pack(game.board), game.board.halfmove_clock)
