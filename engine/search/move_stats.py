"""What the search knows of each root move, one line a move, in the field words of lc0's VerboseMoveStats."""

from __future__ import annotations

from collections.abc import Callable

import chess

from dejavu.engine.options import Config
from dejavu.engine.search.lines import value, win_draw_loss
from dejavu.engine.search.puct import exploration, first_play_urgency
from dejavu.engine.search.tree import DRAWN, LOST, NO_NODE, TABLEBASE_PLIES, UNPROVEN, WON, Tree
from dejavu.model.chess.encoding import index_to_move

OwnValue = Callable[[int], float | None]
"""Node -> V, the network's own value for the side to move there; None if it is not known."""

_RESULTS = {WON: "won", DRAWN: "drawn", LOST: "lost"}


def move_stats(tree: Tree, root: int, board: chess.Board, own_value: OwnValue, config: Config) -> list[str]:
    """One line for each move of `root`, which has `board`, the least visited first; the last is `root` itself.

    N visits (+ those under way), P prior, Q mean value with DrawScore (of an unvisited move the first-play urgency),
    U exploration, S = Q + U, V the network's own value, WDL in thousandths, D probability of a draw, T the proven
    result. All are seen by the side to move at the root.
    """
    visits, first = tree.visits[root], tree.first_edge[root]
    u_factor = exploration(visits, config)
    own_q, own_draw = -value(tree, root), tree.draw_sum[root] / visits
    root_q = own_q + config.draw_score * own_draw
    urgency = first_play_urgency(root_q, tree.visited_policy[root], config)
    rows: list[tuple[int, float, str]] = []
    for index in range(tree.edge_count[root]):
        child = tree.children[root][index] if index < len(tree.children[root]) else NO_NODE
        move = index_to_move(tree.edge_move[first + index], board)
        prior = tree.edge_prior[first + index]
        n = tree.visits[child] if child != NO_NODE else 0
        in_flight = tree.in_flight[child] if child != NO_NODE else 0
        q, wdl, v, proof = urgency, "", None, UNPROVEN
        if n:
            plain, draw = value(tree, child), tree.draw_sum[child] / n
            q, wdl, proof = plain + config.draw_score * draw, _wdl(plain, draw), tree.proof[child]
            v = own_value(child)
        u = u_factor * prior / (1 + n + in_flight)
        result = _result(proof, tree.plies_to_mate[child]) if proof else ""
        text = (
            f"{move.uci():<5} N: {n:7d} (+{in_flight:3d}) (P: {100 * prior:5.2f}%) (Q: {q:8.5f}) (U: {u:7.5f})"
            f" (S: {q + u:8.5f}) (V: {_optional(None if v is None else -v)}){wdl}{result}"
        )
        rows.append((n, prior, text))
    lines = [text for _, _, text in sorted(rows, key=lambda row: row[:2])]
    v = own_value(root)
    proof = (UNPROVEN, LOST, DRAWN, WON)[tree.proof[root]]
    result = _result(proof, tree.plies_to_mate[root]) if proof else ""
    lines.append(
        f"node  N: {visits:7d} (+{tree.in_flight[root]:3d}) (Q: {root_q:8.5f})"
        f" (V: {_optional(v)}){_wdl(own_q, own_draw)}{result}"
    )
    return lines


def _wdl(q: float, draw: float) -> str:
    win, drawn, loss = win_draw_loss(q, draw)
    return f" (WDL: {win:4d} {drawn:4d} {loss:4d}) (D: {draw:5.3f})"


def _optional(v: float | None) -> str:
    return "-.----" if v is None else f"{v:7.4f}"


def _result(proof: int, plies: int) -> str:
    """The proven result for the side to move at the root; `plies` are counted from the node."""
    if proof == DRAWN or plies >= TABLEBASE_PLIES:
        return f" (T: {_RESULTS[proof]})"
    return f" (T: {_RESULTS[proof]}, mate {plies} plies on)"
