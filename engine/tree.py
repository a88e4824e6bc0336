"""The search tree as a struct of arrays: one entry a node in each list, edges in two flat arrays.

An edge is a legal move of a node. The edges of a node lie side by side, the likeliest first. All unvisited
moves of a node have the same Q (the first-play urgency) and N = 0, so PUCT always prefers the likeliest of
them: the visited edges form a prefix, and selection looks at the children and at one more edge.

Values are seen by the player who moved INTO the node: W / N is the Q its parent compares. The value of a
position for its own side to move is therefore -W / N.
"""

from __future__ import annotations

from array import array

import chess

from dejavu.engine.evaluator import Expansion
from dejavu.model.encoding import Packed

UNPROVEN, WON, DRAWN, LOST = range(4)
"""Proven results, for the player who moved into the node."""

PROOF_VALUE = (0.0, 1.0, 0.0, -1.0)
PROOF_DRAW = (0.0, 0.0, 1.0, 0.0)

TABLEBASE_PLIES = 10_000
"""Plies to mate of a tablebase result, whose distance to mate is not known: beyond any real mate."""

NO_NODE = -1
_NO_CHILDREN: list[int] = []

NODE_BYTES = 760
"""Measured: a node's list entries, numbers and key, its two byte strings a move not included."""
EDGE_BYTES = 6
BOARD_BYTES = 1000


class Tree:
    """All nodes of one search tree. Lists have one entry a node; `root` is node 0 of a new tree."""

    def __init__(self, board: chess.Board, key: Packed) -> None:
        """A tree of one node: `board` without its move stack, and its packed form."""
        self.visits: list[int] = []
        """N: finished visits."""
        self.in_flight: list[int] = []
        """Visits under way: the node waits for an evaluation in its subtree (virtual loss)."""
        self.value_sum: list[float] = []
        """W: sum of values in -1..1."""
        self.draw_sum: list[float] = []
        """D: sum of draw probabilities."""
        self.prior: list[float] = []
        """P of the edge that leads here."""
        self.visited_policy: list[float] = []
        """Sum of P over children with N > 0."""
        self.parent: list[int] = []
        self.edge: list[int] = []
        """The edge that leads here, an index into the edge arrays; -1 for the first node."""
        self.first_edge: list[int] = []
        """Where the node's edges begin; -1 while it has not been evaluated."""
        self.edge_count: list[int] = []
        self.children: list[list[int]] = []
        """Node numbers of the visited prefix of the edges, in edge order."""
        self.proof: list[int] = []
        self.plies_to_mate: list[int] = []
        """Of a proven win or loss; 0 is checkmate on the board."""
        self.key: list[Packed] = []
        """Packed position, for repetitions."""
        self.board: list[chess.Board | None] = []
        """Position with neither stack nor history; None for leaves, whose board is made when it is needed."""
        self.edge_move: array[int] = array("H")
        """[edges] policy index."""
        self.edge_prior: array[float] = array("f")
        """[edges] P."""
        self.boards = 1
        """How many entries of `board` are set."""
        self.root = self._append(NO_NODE, -1, 0.0, key)
        self.board[self.root] = board

    def __len__(self) -> int:
        return len(self.visits)

    @property
    def bytes(self) -> int:
        """Estimated memory."""
        return len(self.visits) * NODE_BYTES + len(self.edge_move) * EDGE_BYTES + self.boards * BOARD_BYTES

    def _append(self, parent: int, edge: int, prior: float, key: Packed) -> int:
        node = len(self.visits)
        self.visits.append(0)
        self.in_flight.append(0)
        self.value_sum.append(0.0)
        self.draw_sum.append(0.0)
        self.prior.append(prior)
        self.visited_policy.append(0.0)
        self.parent.append(parent)
        self.edge.append(edge)
        self.first_edge.append(-1)
        self.edge_count.append(0)
        self.children.append(_NO_CHILDREN)
        self.proof.append(UNPROVEN)
        self.plies_to_mate.append(0)
        self.key.append(key)
        self.board.append(None)
        return node

    def add_child(self, node: int, key: Packed) -> int:
        """Visit the node's next edge for the first time: the new node, not yet evaluated."""
        children = self.children[node]
        edge = self.first_edge[node] + len(children)
        child = self._append(node, edge, self.edge_prior[edge], key)
        if children:
            children.append(child)
        else:
            self.children[node] = [child]
        return child

    def next_move(self, node: int) -> int:
        """Policy index of the node's next unvisited edge."""
        return self.edge_move[self.first_edge[node] + len(self.children[node])]

    def move_into(self, node: int) -> int:
        """Policy index of the move that leads to the node."""
        return self.edge_move[self.edge[node]]

    def expand(self, node: int, expansion: Expansion) -> None:
        """Give the node its edges."""
        self.first_edge[node] = len(self.edge_move)
        self.edge_move.frombytes(expansion.moves)
        self.edge_prior.frombytes(expansion.priors)
        self.edge_count[node] = len(expansion.moves) // 2

    def add_in_flight(self, node: int, root: int, amount: int) -> None:
        """Add `amount` visits under way to the node and to all above it, up to `root`."""
        in_flight, parent = self.in_flight, self.parent
        while True:
            in_flight[node] += amount
            if node == root:
                return
            node = parent[node]

    def back_up(self, node: int, root: int, value: float, draw: float) -> None:
        """Count one visit of the node and of all above it, up to `root`.

        `value` is for the player who moved into the node. A proven node passes its proven value on.
        """
        visits, value_sum, draw_sum = self.visits, self.value_sum, self.draw_sum
        parent, proof = self.parent, self.proof
        if visits[node] == 0 and node != root:
            self.visited_policy[parent[node]] += self.prior[node]
        while True:
            if proof[node]:
                value = PROOF_VALUE[proof[node]]
                draw = PROOF_DRAW[proof[node]]
            visits[node] += 1
            value_sum[node] += value
            draw_sum[node] += draw
            if node == root:
                return
            node = parent[node]
            value = -value

    def prove(self, node: int, root: int, proof: int, plies: int) -> None:
        """Mark the node's result as proven and draw the conclusions for the nodes above it, up to `root`.

        A move to a won child proves the parent (lost for the player who moved into it); otherwise all moves
        must be proven. The winner takes the shortest way, the loser the longest. The sums of the node become
        what they had been if the result had always been known, in it and above it.
        """
        while True:
            self.proof[node] = proof
            self.plies_to_mate[node] = plies
            self._correct_sums(node, root)
            if node == root:
                return
            node = self.parent[node]
            if self.proof[node]:
                return
            children = self.children[node]
            if proof == WON:
                proof, plies = LOST, plies + 1
                continue
            if len(children) < self.edge_count[node]:
                return
            proofs = {self.proof[child] for child in children}
            if UNPROVEN in proofs:
                return
            if DRAWN in proofs:
                proof, plies = DRAWN, 0
            else:
                proof, plies = WON, 1 + max(self.plies_to_mate[child] for child in children)

    def _correct_sums(self, node: int, root: int) -> None:
        visits = self.visits[node]
        value = visits * PROOF_VALUE[self.proof[node]] - self.value_sum[node]
        draw = visits * PROOF_DRAW[self.proof[node]] - self.draw_sum[node]
        while True:
            self.value_sum[node] += value
            self.draw_sum[node] += draw
            if node == root:
                return
            node = self.parent[node]
            if self.proof[node]:
                return
            value = -value

    def ranked_children(self, node: int, draw_score: float = 0.0) -> list[int]:
        """Children with N > 0, the best move first: quickest win, then by N, then by Q; slowest loss last.

        `draw_score` is the value of a draw for the side to move.
        """

        def rank(child: int) -> tuple[int, float, float]:
            proof, plies = self.proof[child], self.plies_to_mate[child]
            if proof == WON:
                return 0, plies, 0.0
            if proof == LOST:
                return 2, -plies, 0.0
            visits = self.visits[child]
            return 1, -visits, -(self.value_sum[child] + draw_score * self.draw_sum[child]) / visits

        return sorted((child for child in self.children[node] if self.visits[child]), key=rank)

    def find_child(self, node: int, move: int) -> int:
        """The visited child a policy index leads to, or NO_NODE."""
        for child in self.children[node]:
            if self.edge_move[self.edge[child]] == move:
                return child
        return NO_NODE

    def subtree(self, node: int) -> Tree:
        """A new tree of `node` and all below it; this tree must not be used any more.

        Only between searches: no visit may be under way. The node must have a board.
        """
        order = [node]
        for kept in order:
            order += self.children[kept]
        new_number = {old: new for new, old in enumerate(order)}
        board = self.board[node]
        assert board is not None
        tree = Tree(board, self.key[node])
        tree.visits = [self.visits[old] for old in order]
        tree.in_flight = [0] * len(order)
        tree.value_sum = [self.value_sum[old] for old in order]
        tree.draw_sum = [self.draw_sum[old] for old in order]
        tree.prior = [self.prior[old] for old in order]
        tree.visited_policy = [self.visited_policy[old] for old in order]
        tree.parent = [NO_NODE, *(new_number[self.parent[old]] for old in order[1:])]
        tree.edge_count = [self.edge_count[old] for old in order]
        tree.proof = [self.proof[old] for old in order]
        tree.plies_to_mate = [self.plies_to_mate[old] for old in order]
        tree.key = [self.key[old] for old in order]
        tree.board = [self.board[old] for old in order]
        tree.boards = sum(board is not None for board in tree.board)
        tree.children = [
            [new_number[child] for child in self.children[old]] if self.children[old] else _NO_CHILDREN for old in order
        ]
        tree.first_edge = []
        for old in order:
            first, count = self.first_edge[old], self.edge_count[old]
            tree.first_edge.append(len(tree.edge_move) if first >= 0 else -1)
            if count:
                tree.edge_move.extend(self.edge_move[first : first + count])
                tree.edge_prior.extend(self.edge_prior[first : first + count])
        tree.edge = [-1] * len(order)
        for number, children in enumerate(tree.children):
            for place, child in enumerate(children):
                tree.edge[child] = tree.first_edge[number] + place
        return tree
