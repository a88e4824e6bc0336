"""The positions a search looks at: those the network has to evaluate, which are not those that games consist of.

A search tries moves that nobody plays, so a network trained on games alone meets in the tree what it has never seen and
evaluates the moves that it overrates itself most often (Ross et al. 2011, "A Reduction of Imitation Learning ... to
No-Regret Online Learning": train on what the learner itself comes across).
"""

from __future__ import annotations

import random

import chess

from dejavu.engine.match.batch import SearchingGame, SharedPlayer
from dejavu.engine.search.lines import Info
from dejavu.engine.search.search import Search
from dejavu.engine.search.tree import UNPROVEN
from dejavu.model.chess.encoding import Packed, unpack


class VisitingSearch(SearchingGame):
    """One search of one position, of whose tree some positions are kept."""

    def __init__(self, number: int, board: chess.Board, player: SharedPlayer, count: int, seed: int) -> None:
        """`number` and `seed` decide which `count` positions are drawn."""
        super().__init__()
        self.number = number
        self.found: list[chess.Board] = []
        """Different positions below the root that the network has evaluated, at most `count`; filled in the end."""
        self._board = board
        self._player = player
        self._count = count
        self._generator = random.Random(f"{seed}-{number}")
        self._is_over = board.is_game_over()

    @property
    def player(self) -> SharedPlayer:
        return self._player

    def _start(self) -> Search | None:
        if self._is_over:
            return None
        session = self._player.session()
        session.set_position(self._board.fen(), [])
        return session.search(self._player.limits, _ignore)

    def _move(self, search: Search, reason: str) -> None:
        self._is_over = True
        tree = search.tree
        nodes: dict[Packed, int] = {}
        for node in range(len(tree)):
            if node != search.root and tree.edge_count[node] and tree.proof[node] == UNPROVEN:
                nodes.setdefault(tree.key[node], node)
        drawn = self._generator.sample(sorted(nodes.values()), min(self._count, len(nodes)))
        for node in drawn:
            self.found.append(unpack(tree.key[node], tree.clock[node]))


def _ignore(info: Info) -> None:
    pass
