"""Remembered positions in words, as a person would say them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import chess

from dejavu.engine.search.lines import centipawns
from dejavu.model.chess.encoding import index_to_move
from dejavu.model.remembered import Remembered, Wdl
from dejavu.retrieval.names import GameName

if TYPE_CHECKING:
    from dejavu.model.explanation import Explanation
    from dejavu.model.similar import Similar

LINE_PLIES = 6
LISTED_MOVES = 6
MOST_PAWNS = 99.9
AS_PLAYED = "Players and result are as the game was played: where the colours are turned, its White is Black here."
"""A memory does not keep who was to move, so nobody can tell where they are."""


def pawns(wdl: Wdl, turn: chess.Color) -> str:
    """Win, draw and loss of the side to move as pawns from White's side, on the engine's own scale: "+0.3"."""
    win, _, loss = wdl
    value = (win - loss) if turn == chess.WHITE else (loss - win)
    rounded = round(max(-MOST_PAWNS, min(MOST_PAWNS, centipawns(value) / 100)), 1)
    return f"{rounded + 0.0:+.1f}"  # never -0.0


def evaluation(item: Remembered, asked: chess.Board) -> str:
    """How the remembered position was evaluated, from White's side, or that nobody has."""
    return pawns(item.wdl, asked.turn) if item.is_evaluated else "not evaluated"


def remembered_from(item: Remembered, asked: chess.Board) -> str:
    """One line: "remembered from rofChade - Pedone, TCEC 2020 (Sicilian B50): 2...d6, +0.3, distance 0"."""
    played = item.line(asked, 1) or "nothing was played"
    told = f"{played}, {evaluation(item, asked)}, distance {item.distance:.0f}"
    return f"remembered from {GameName.parse(item.game)}: {told}"


def similar_line(item: Similar, asked: chess.Board) -> str:
    """One line: what was played, how it was evaluated, the game, how far it is from the one asked about, its FEN."""
    played = item.line(asked, LINE_PLIES) or "nothing was played"
    return (
        f"{played}, {evaluation(item, asked)}, in {GameName.parse(item.game)}; difference {item.difference} "
        f"distance {item.distance:.0f} fen {item.board(asked).fen()}"
    )


def similar_json(item: Similar, asked: chess.Board, memory: str) -> dict[str, Any]:
    """What `similar_line` says and more, as JSON; `wdl` is of the side to move, null where nobody has evaluated it."""
    name = GameName.parse(item.game)
    return {
        "fen": item.board(asked).fen(),
        "moves": [move.uci() for move in item.moves(asked)],
        "line": item.line(asked),
        "wdl": [round(share, 3) for share in item.wdl] if item.is_evaluated else None,
        "evaluation": evaluation(item, asked) if item.is_evaluated else None,
        **{key: getattr(name, key) for key in ("players", "event", "year", "opening", "eco", "result")},
        "difference": item.difference,
        "distance": item.distance,
        "memory": memory,
    }


def explanation_lines(board: chess.Board, explanation: Explanation) -> list[str]:
    """What the network says of a position with its memory and without, and its neighbours."""
    lines = []
    for name, wdl in (("with memory", explanation.with_memory), ("without memory", explanation.without_memory)):
        lines.append(f"{name:16}win {wdl[0]:.1%} draw {wdl[1]:.1%} loss {wdl[2]:.1%}")
    for item in explanation.moves[:LISTED_MOVES]:
        san = board.san(index_to_move(item.move, board))
        lines.append(f"{san:16}{item.with_memory:.1%} with memory, {item.without_memory:.1%} without")
    return lines + [neighbour.describe(board) for neighbour in explanation.neighbours]
