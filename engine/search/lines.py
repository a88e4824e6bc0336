"""What a search tells its user: principal variations with their scores, info lines, the best move."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import chess

from dejavu.engine.options import Config
from dejavu.engine.search.proofs import Proofs
from dejavu.engine.search.puct import first_play_urgency
from dejavu.engine.search.tree import LOST, NO_NODE, TABLEBASE_PLIES, WON, Tree
from dejavu.model.chess.encoding import index_to_move

CENTIPAWN_SCALE, CENTIPAWN_SLOPE = 90.0, 1.5637541897
"""lc0's centipawn curve: cp = 90 tan(1.5637541897 Q)."""


@dataclass(frozen=True)
class Line:
    """One principal variation; the score is for the side to move at the root."""

    moves: tuple[str, ...]
    score: int
    """What stands behind `score cp`, in the unit of ScoreType."""
    mate: int | None
    """Moves to mate, negative if the side to move is mated; None if no mate is proven."""
    wdl: tuple[int, int, int]
    """Thousandths; their sum is 1000."""


@dataclass(frozen=True)
class Info:
    """Everything an `info` line tells."""

    depth: int
    selective_depth: int
    milliseconds: int
    nodes: int
    nodes_per_second: int
    hash_permille: int
    tablebase_hits: int
    lines: tuple[Line, ...]
    move_stats: tuple[str, ...] = ()
    """What is known of each root move, if that was asked for (see `move_stats`)."""


class BestMove(NamedTuple):
    """The answer to `go`."""

    move: str | None
    """None if the game is over."""
    ponder: str | None
    reason: str
    """Why the search ended, in a word or two."""


def value(tree: Tree, node: int, draw_score: float = 0.0) -> float:
    """Q of a visited node for the player who moved into it, to whom a draw is worth `draw_score`."""
    return (tree.value_sum[node] + draw_score * tree.draw_sum[node]) / tree.visits[node]


def root_values(tree: Tree, root: int) -> dict[int, tuple[float, float, int]]:
    """Q, share of draws and visits of every visited root move, by policy index, for the side to move at the root."""
    if not tree.visits[root] or tree.first_edge[root] < 0:
        return {}
    first, found = tree.first_edge[root], {}
    for index, child in enumerate(tree.children[root]):
        if child != NO_NODE and (visits := tree.visits[child]):
            found[tree.edge_move[first + index]] = value(tree, child), tree.draw_sum[child] / visits, visits
    return found


def proof_of(tree: Tree, root: int) -> tuple[bool, int | None] | None:
    """Whether the side to move at the root wins or loses, and the plies to mate if known; None if neither is proven."""
    proof, plies = tree.proof[root], tree.plies_to_mate[root]
    if proof not in (WON, LOST):
        return None
    return proof == LOST, plies if plies < TABLEBASE_PLIES else None


def mate_in(tree: Tree, child: int) -> int | None:
    """Moves to mate after the root move to `child`, negative if we are mated; None if not proven."""
    proof, plies = tree.proof[child], tree.plies_to_mate[child]
    if plies >= TABLEBASE_PLIES or proof not in (WON, LOST):
        return None
    return (plies + 2) // 2 if proof == WON else -((plies + 1) // 2)


def ranked_edges(tree: Tree, root: int, draw_score: float, wanted: int = 1) -> list[int]:
    """Indices among the edges of `root`, the best first: all visited moves, and unvisited ones where more are wanted.

    Anything unseen is better than a proven loss, and comes before one.
    """
    ranked, nodes = tree.ranked_children(root, draw_score), tree.children[root]
    indices = [tree.edge[child] - tree.first_edge[root] for child in ranked]
    # A node without a visit is one whose evaluation `stop` has overtaken.
    unseen = [index for index, child in enumerate(nodes) if not tree.visits[child]]
    unseen += range(len(nodes), tree.edge_count[root])
    lost = next((place for place, child in enumerate(ranked) if tree.proof[child] == LOST), len(ranked))
    return [*indices[:lost], *unseen[: max(0, wanted - lost)], *indices[lost:]]


def variations(
    tree: Tree, root: int, board: chess.Board, indices: Sequence[int], config: Config, proofs: Proofs
) -> list[Line]:
    """The lines of the root moves at `indices` among the edges of `root`, which has `board`."""
    children = tree.children[root]
    return [
        _line(tree, children[index], board, config, proofs)
        if index < len(children) and tree.visits[children[index]]
        else _unseen(tree, root, index, board, config)
        for index in indices
    ]


def _unseen(tree: Tree, root: int, index: int, board: chess.Board, config: Config) -> Line:
    """A root move without a visit; its score is what it counts for until it is visited."""
    move = index_to_move(tree.edge_move[tree.first_edge[root] + index], board)
    q = first_play_urgency(-value(tree, root), tree.visited_policy[root], config)
    draw = tree.draw_sum[root] / tree.visits[root]
    return Line((move.uci(),), score(q, draw, config), None, win_draw_loss(q, draw))


def _line(tree: Tree, child: int, root_board: chess.Board, config: Config, proofs: Proofs) -> Line:
    """The variation of the root move to `child`: always the best child, down to the end of the tree.

    Behind what an earlier search has proven comes the line that it found.
    """
    board = root_board.copy(stack=False)
    moves: list[str] = []
    node, draw_score = child, config.draw_score
    while True:
        move = index_to_move(tree.move_into(node), board)
        moves.append(move.uci())
        board.push(move)
        draw_score = -draw_score
        ranked = tree.ranked_children(node, draw_score)
        if not ranked:
            break
        node = ranked[0]
    for index in _proven_line(tree, node, proofs):
        move = index_to_move(index, board)
        moves.append(move.uci())
        board.push(move)
    q, draw = value(tree, child), tree.draw_sum[child] / tree.visits[child]
    return Line(tuple(moves), score(q, draw, config), mate_in(tree, child), win_draw_loss(q, draw))


def _proven_line(tree: Tree, node: int, proofs: Proofs) -> tuple[int, ...]:
    """How the game goes on from `node`, which has no children: as was proven of it, or of the move to it."""
    if tree.proof[node] not in (WON, LOST):
        return ()
    if (proof := proofs.get(tree.key[node])) is not None:
        return proof.line
    before = proofs.get(tree.key[tree.parent[node]])
    return before.line[1:] if before is not None and before.line[0] == tree.move_into(node) else ()


def win_draw_loss(value: float, draw: float) -> tuple[int, int, int]:
    """The chances behind Q and a draw probability, in thousandths."""
    value = min(1.0, max(-1.0, value))
    draw = min(1.0 - abs(value), max(0.0, draw))
    win, loss = round(500 * (1 + value - draw)), round(500 * (1 - value - draw))
    return win, max(0, 1000 - win - loss), loss


def score(value: float, draw: float, config: Config) -> int:
    """The number behind `score cp` for Q and a draw probability, under ScoreType and DrawScore."""
    value = min(1.0, max(-1.0, value + config.draw_score * draw))
    if config.score_type == "WDL":
        return round(5000 * (1 + value))
    if config.score_type == "Q":
        return round(10000 * value)
    return centipawns(value)


def centipawns(value: float) -> int:
    """The score in centipawns that Q, -1 to 1, stands for."""
    return round(CENTIPAWN_SCALE * math.tan(CENTIPAWN_SLOPE * value))
