"""What the scripts of pages are given, as JSON."""

from __future__ import annotations

import json
from typing import Any

import chess

from dejavu.engine.seeing.words import LINE_PLIES, evaluation, remembered_from
from dejavu.model.chess.encoding import index_to_move
from dejavu.model.explanation import Explanation
from dejavu.model.similar import Similar
from dejavu.retrieval.names import GameName

TOP_MOVES = 3


def json_text(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


def memory_told(explanation: Explanation, board: chess.Board) -> dict[str, Any]:
    """What the memory did: the likeliest moves with it and without, and the neighbours that counted.

    A move is [UCI, SAN, per cent with memory, per cent without].
    """
    moves = [(index_to_move(item.move, board), item) for item in explanation.moves]
    bare = sorted(moves, key=lambda pair: -pair[1].without_memory)
    shown = list(dict.fromkeys([move for move, _ in moves[:TOP_MOVES]] + [move for move, _ in bare[:TOP_MOVES]]))
    shares = dict(moves)
    return {
        "moves": [
            [move.uci(), board.san(move), _per_cent(shares[move].with_memory), _per_cent(shares[move].without_memory)]
            for move in shown
        ],
        "remembered": [
            f"{remembered_from(item, board)}; it moved the policy by {item.policy_change:.0%}"
            for item in explanation.neighbours
            if item.counted
        ],
    }


def _per_cent(share: float) -> int:
    return round(100 * share)


def similar_told(item: Similar, asked: chess.Board) -> dict[str, Any]:
    """A remembered position that is like the one asked about, in its colours."""
    return {
        "fen": item.board(asked).board_fen(),
        "move": next((move.uci() for move in item.moves(asked)), ""),
        "line": item.line(asked, LINE_PLIES),
        "score": evaluation(item, asked),
        "game": str(GameName.parse(item.game)),
        "difference": item.difference,
    }
