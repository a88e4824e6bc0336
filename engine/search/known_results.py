"""What is known of a new node without the network: by the rules, the tablebases, or what was proven before."""

from __future__ import annotations

import chess

from dejavu.engine.search.endings import SOLVED_MEN, Endings
from dejavu.engine.search.tablebase import Tablebases
from dejavu.engine.search.task import Task
from dejavu.engine.search.tree import DRAWN, LOST, TABLEBASE_PLIES, WON
from dejavu.model.chess.encoding import Packed, count_men, only_minor_pieces, unpack
from dejavu.model.chess.play import play
from dejavu.retrieval.moves import NO_MOVE

Result = tuple[int, int]
"""A node's proof, and the plies to mate."""


class KnownResults:
    """Of the nodes of one search, whose tree is that of `task`."""

    def __init__(self, task: Task, tablebases: Tablebases, endings: Endings) -> None:
        self._task = task
        self._tree = task.tree
        self._tablebases = tablebases
        self._endings = endings

    def result(self, node: int, root: int) -> Result | None:
        """Of a new node; None if the network is to tell."""
        key, clock = self._tree.key[node], self._tree.clock[node]
        known = self._by_rules(node, root, key, clock)
        if known is None and count_men(key) <= max(SOLVED_MEN, self._tablebases.pieces):
            known = self._by_tables(unpack(key, clock))
        if known is None and self._task.proofs:
            known = self._proven_before(node, root, clock)
        return known

    def proven_win(self, root: int) -> int:
        """The root's move that an earlier search has proven to win, NO_MOVE if there is none."""
        proof = self._task.proofs.get(self._tree.key[root])
        if proof is None or not proof.wins or not proof.holds(self._task.board.halfmove_clock):
            return NO_MOVE
        move = proof.line[0]
        return NO_MOVE if play(self._tree.key[root], move).packed in self._task.history else move

    def stood_in_game(self, node: int, root: int, key: Packed, clock: int) -> bool:
        """Whether the position stood on the board before the root did."""
        return clock >= 4 and bool(self._task.history) and self._before(node, root, key, clock)[1] > 0

    def _before(self, node: int, root: int, key: Packed, clock: int) -> tuple[bool, int]:
        """Whether the position stands on the way from the root on; else how often it stood in the game before."""
        keys, parent, history = self._tree.key, self._tree.parent, self._task.history
        for distance in range(1, clock + 1):
            if node == root:
                # The rest of the way back lies in the game; only every second position has the same mover.
                before = history[::-1][: clock - distance + 1]
                return False, before[distance % 2 == 1 :: 2].count(key)
            node = parent[node]
            if distance % 2 == 0 and keys[node] == key:
                return True, 0
        return False, 0

    def _by_rules(self, node: int, root: int, key: Packed, clock: int) -> Result | None:
        """Draws the position does not show by having no moves; mate goes before the 50-move rule.

        A repetition within the search is a draw: what was good the first time is good again. A position that stood
        once in the game is none yet; nobody need move there as before.
        """
        if clock >= 4:
            in_search, in_game = self._before(node, root, key, clock)
            if in_search or in_game >= 2:
                return DRAWN, 0
        if clock >= 100:
            return (WON, 0) if unpack(key).is_checkmate() else (DRAWN, 0)
        if only_minor_pieces(key) and unpack(key).is_insufficient_material():
            return DRAWN, 0
        return None

    def _by_tables(self, board: chess.Board) -> Result | None:
        """Of an ending that is solved, or that the tablebases have."""
        solved = self._endings.result(board)
        if solved is not None:
            outcome, plies = solved
            return (WON, DRAWN, LOST)[outcome + 1], plies
        result = self._tablebases.result(board) if self._tablebases.pieces else None
        if result is None:
            return None
        return (DRAWN, 0) if result == 0 else (LOST if result > 0 else WON, TABLEBASE_PLIES)

    def _proven_before(self, node: int, root: int, clock: int) -> Result | None:
        """What earlier searches have proven of a new node, or of the root's move to it."""
        tree, proofs = self._tree, self._task.proofs
        proof = proofs.get(tree.key[node])
        if proof is not None and proof.holds(clock):
            return (LOST if proof.wins else WON), TABLEBASE_PLIES if proof.plies is None else proof.plies
        if tree.parent[node] == root and tree.move_into(node) == self.proven_win(root):
            plies = proofs[tree.key[root]].plies
            return WON, TABLEBASE_PLIES if plies is None else plies - 1
        return None
