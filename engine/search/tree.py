"""The search tree as a struct of arrays: one entry a node in each array, edges in two arrays of their own.

An edge is a legal move of a node. The edges of a node lie side by side, the likeliest first. All unvisited
moves of a node have the same Q (the first-play urgency) and N = 0, so PUCT always prefers the likeliest of
them: the visited edges form a prefix, and selection looks at the children and at one more edge.

Values are seen by the player who moved INTO the node: W / N is the Q its parent compares. The value of a
position for its own side to move is therefore -W / N.

A node has a higher number than its parent.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dejavu.engine.search.evaluator import Expansion
from dejavu.model.chess.encoding import Packed

UNPROVEN, WON, DRAWN, LOST = range(4)
"""Proven results, for the player who moved into the node."""

PROOF_VALUE = (0.0, 1.0, 0.0, -1.0)
PROOF_DRAW = (0.0, 0.0, 1.0, 0.0)

TABLEBASE_PLIES = 10_000
"""Plies to mate of a tablebase result, whose distance to mate is not known: beyond any real mate."""

NO_NODE = -1
_NO_CHILDREN: array[int] = array("i")

NODE_BYTES = 240
"""Measured: a node's array entries, key and children, its two array entries a move not included."""
EDGE_BYTES = 6

MAX_CLOCK = 127
"""Half-move clocks are kept up to this: the eighth bit of a clock byte says that a position is repeated."""

_NODE_ARRAYS = (
    *("visits", "in_flight", "value_sum", "draw_sum", "prior", "visited_policy", "parent", "edge", "first_edge"),
    *("edge_count", "proof", "plies_to_mate", "clock"),
)
_PIECE = 1 << 18
"""Entries that are moved at once when an array shrinks."""


class Tree:
    """All nodes of one search tree; node 0 is the first. Arrays have one entry a node."""

    def __init__(self, key: Packed, clock: int) -> None:
        """A tree of one node, the position `key` with a half-move clock."""
        self.visits = array("i")
        """N: finished visits."""
        self.in_flight = array("i")
        """Visits under way: the node waits for an evaluation in its subtree (virtual loss)."""
        self.value_sum = array("d")
        """W: sum of values in -1..1."""
        self.draw_sum = array("d")
        """D: sum of draw probabilities."""
        self.prior = array("f")
        """P of the edge that leads here."""
        self.visited_policy = array("d")
        """Sum of P over children with N > 0."""
        self.parent = array("i")
        self.edge = array("i")
        """The edge that leads here, an index into the edge arrays; -1 for the first node."""
        self.first_edge = array("i")
        """Where the node's edges begin; -1 while it has none: not yet evaluated, or its subtree was given up."""
        self.edge_count = array("H")
        self.children: list[array[int]] = []
        """Node numbers of the visited prefix of the edges, in edge order."""
        self.proof = array("b")
        self.plies_to_mate = array("h")
        """Of a proven win or loss; 0 is checkmate on the board."""
        self.key: list[Packed] = []
        """Packed position: for repetitions, and to make the node's board from."""
        self.clock = array("B")
        """Half-move clock."""
        self.edge_move = array("H")
        """[edges] policy index."""
        self.edge_prior = array("f")
        """[edges] P."""
        self._append(NO_NODE, -1, 0.0, key, clock)

    def __len__(self) -> int:
        return len(self.visits)

    @property
    def bytes(self) -> int:
        """Estimated memory."""
        return len(self.visits) * NODE_BYTES + len(self.edge_move) * EDGE_BYTES

    def _append(self, parent: int, edge: int, prior: float, key: Packed, clock: int) -> int:
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
        self.clock.append(min(clock, MAX_CLOCK))
        return node

    def add_child(self, node: int, key: Packed, clock: int) -> int:
        """Visit the node's next edge for the first time: the new node, not yet evaluated."""
        children = self.children[node]
        edge = self.first_edge[node] + len(children)
        child = self._append(node, edge, self.edge_prior[edge], key, clock)
        if children:
            children.append(child)
        else:
            self.children[node] = array("i", (child,))
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

    def moves(self, node: int) -> list[int]:
        """Policy indices of the node's edges [M], in their order."""
        first = self.first_edge[node]
        return self.edge_move[first : first + self.edge_count[node]].tolist()

    def priors(self, node: int) -> NDArray[np.float32]:
        """P of the node's edges [M], in their order."""
        first = self.first_edge[node]
        return np.array(self.edge_prior[first : first + self.edge_count[node]], np.float32)

    def set_priors(self, node: int, priors: NDArray[np.float32]) -> None:
        """Give the node's edges another P [M], in their order; those not visited yet are put into order again."""
        first, count = self.first_edge[node], self.edge_count[node]
        children = self.children[node]
        visited = len(children)
        unvisited = visited + np.argsort(-priors[visited:], kind="stable")
        order = np.concatenate([np.arange(visited), unvisited])
        moves = np.array(self.edge_move[first : first + count])
        np.asarray(memoryview(self.edge_move))[first : first + count] = moves[order]
        np.asarray(memoryview(self.edge_prior))[first : first + count] = priors[order]
        for child, prior in zip(children, priors.tolist(), strict=False):
            self.prior[child] = prior
        self.visited_policy[node] = sum(self.prior[child] for child in children if self.visits[child])

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
                if proof == WON and node == root:  # other moves are looked at there once one wins
                    self.plies_to_mate[node] = min(self.plies_to_mate[node], plies + 1)
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

    def forget_repetitions(self, root: int, above: Collection[Packed]) -> None:
        """Take back the draws below `root` that are none any more, now that `above` is no longer searched.

        `above` are positions that the way to `root` led through. A leaf with one of them was a repetition within the
        search, and is one within the game now. What it had proven above it, a draw by all moves, is open again.
        A leaf that the fifty-move rule ends stays drawn.
        """
        drawn = np.flatnonzero(_numbers(self.proof) == DRAWN).tolist() if above else []
        for node in drawn:
            key = self.key[node]
            if key not in above or self.first_edge[node] >= 0 or self.clock[node] >= 100:
                continue
            before = self.parent[node]
            while before not in (root, NO_NODE) and self.key[before] != key:
                before = self.parent[before]
            if before == NO_NODE or self.key[before] == key:
                continue
            while node != root and self.proof[node] == DRAWN:
                self.proof[node] = UNPROVEN
                node = self.parent[node]

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

    # Giving memory back, between minibatches: no visit may be under way

    def reroot(self, node: int) -> None:
        """Keep `node`, which becomes node 0, and all below it."""
        kept = [node]
        for above in kept:
            kept += self.children[above]
        self._keep(np.sort(np.array(kept)), np.ones(len(self), bool))
        self.parent[0], self.edge[0] = NO_NODE, -1

    def prune(self, root: int, limit: int) -> int:
        """Give up the subtrees of the nodes with the fewest visits until `bytes` is at most `limit`.

        Such a node keeps its N and W and loses its edges. The way from node 0 to `root` stays. Returns the new
        number of `root`.
        """
        visits = _numbers(self.visits)
        most = visits.max()
        node = root
        while node != NO_NODE:  # above `root` a ponder search has counted nothing
            visits[node] = np.iinfo(visits.dtype).max
            node = self.parent[node]
        parent_visits = visits[np.maximum(_numbers(self.parent), 0)]
        edges = _numbers(self.edge_count).astype(np.int64)
        least = 1
        while True:
            least *= 2
            kept, expanded = parent_visits >= least, visits >= least
            if kept.sum() * NODE_BYTES + edges[expanded].sum() * EDGE_BYTES <= limit or least > most:
                break
        numbers = np.flatnonzero(kept)
        self._keep(numbers, expanded)
        return int(np.searchsorted(numbers, root))

    def _keep(self, kept: NDArray[np.int64], expanded: NDArray[np.bool_]) -> None:
        """Drop all nodes but `kept` (ascending), and the edges of those that are not `expanded` [all nodes].

        The children of every expanded node that is kept must be kept, the parent of every kept one but the first be
        kept and expanded.
        """
        new_number = np.full(len(self), NO_NODE, np.int32)
        new_number[kept] = np.arange(len(kept))
        has_edges = (_numbers(self.first_edge) >= 0) & expanded
        owners = kept[has_edges[kept]]
        first, count = _numbers(self.first_edge)[owners], _numbers(self.edge_count)[owners]
        # The edges stay in the order in which they lie, which need not be that of their nodes.
        borders = np.zeros(len(self.edge_move) + 1, np.int8)
        borders[first] += 1
        borders[first + count] -= 1
        stays = np.cumsum(borders, dtype=np.int8, out=borders)[:-1].view(bool)
        order = np.argsort(first)
        new_first = np.full(len(self), -1, np.int32)
        new_first[owners[order]] = np.cumsum(count[order], dtype=np.int64) - count[order]

        parent = _numbers(self.parent)
        index = _numbers(self.edge) - _numbers(self.first_edge)[parent]
        _replace(self.edge, np.where(parent >= 0, new_first[parent] + index, -1))
        self.edge[kept[0]] = -1
        _replace(self.parent, np.where(parent >= 0, new_number[parent], NO_NODE))
        _replace(self.first_edge, new_first)
        _replace(self.edge_count, np.where(has_edges, _numbers(self.edge_count), 0))
        _replace(self.visited_policy, np.where(expanded, _numbers(self.visited_policy), 0))
        is_kept = new_number >= 0
        for name in _NODE_ARRAYS:
            _keep_only(getattr(self, name), is_kept)
        for edges in (self.edge_move, self.edge_prior):
            _keep_only(edges, stays)
        self.key = [self.key[old] for old in kept.tolist()]
        self.children = [
            _renumbered(self.children[old], new_number) if has_children else _NO_CHILDREN
            for old, has_children in zip(kept.tolist(), expanded[kept].tolist(), strict=True)
        ]


def _numbers(values: array[Any]) -> NDArray[Any]:
    """A copy, so that the array can still grow."""
    return np.array(values)


def _replace(values: array[Any], numbers: NDArray[Any]) -> None:
    np.asarray(memoryview(values))[:] = numbers


def _keep_only(values: array[Any], kept: NDArray[np.bool_]) -> None:
    """Shrink an array to the entries that are `kept`, in place.

    Piece by piece: a copy of the largest arrays would be a good part of the memory that is to be bounded.
    """
    numbers, end = np.asarray(memoryview(values)), 0
    for start in range(0, len(kept), _PIECE):
        moved = numbers[start : start + _PIECE][kept[start : start + _PIECE]]
        numbers[end : end + len(moved)] = moved
        end += len(moved)
    del numbers  # an array that is being looked at cannot be shrunk
    del values[end:]


def _renumbered(children: Sequence[int], new_number: NDArray[np.int32]) -> array[int]:
    return array("i", new_number[children].tolist()) if children else _NO_CHILDREN
