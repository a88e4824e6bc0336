"""Similar positions as one HTML page: a board for each, beside the one that was asked about."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import chess
import chess.svg

from dejavu.engine.pages.parts import document, game_name, wdl_text
from dejavu.engine.seeing.words import AS_PLAYED, LINE_PLIES, evaluation
from dejavu.model.similar import Similar

_ARROW = "#b45309cc"
_STYLE = ".asked { max-width: 24rem; }"


def similar_page(board: chess.Board, found: Sequence[Similar], memories: Sequence[str]) -> str:
    """The page about `board`; `memories` are the names of those that were searched."""
    side = "White" if board.turn == chess.WHITE else "Black"
    cards = "".join(_card(item, board, memories) for item in found)
    body = f"""<h1>Positions like this one</h1>
<p class="quiet">{escape(board.fen())}<br>in {escape(", ".join(memories))}</p>
<div class="asked">{_svg(board, board, [])}</div>
<p>{side} to move. Seen in the colours of this position; evaluations are White's.</p>
<p class="quiet">{AS_PLAYED}</p>
<h2>{len(found)} found, the most alike first</h2><div class="cards">{cards}</div>"""
    return document("Dejavu: similar positions", _STYLE, body)


def _svg(board: chess.Board, asked: chess.Board, arrows: list[chess.svg.Arrow]) -> str:
    return chess.svg.board(board, orientation=asked.turn, arrows=arrows, coordinates=False)


def _card(item: Similar, asked: chess.Board, memories: Sequence[str]) -> str:
    moves = item.moves(asked)
    arrows = [chess.svg.Arrow(move.from_square, move.to_square, color=_ARROW) for move in moves[:1]]
    evaluated = "not evaluated"
    if item.is_evaluated:
        evaluated = f"{evaluation(item, asked)}, {wdl_text(item.wdl)} win / draw / loss"
    source = f"<br>{escape(memories[item.memory])}" if len(memories) > 1 else ""
    return f"""<article>{_svg(item.board(asked), asked, arrows)}
<p><b>{escape(item.line(asked, LINE_PLIES)) or "nothing was played"}</b>
<p>{evaluated}
<p class="quiet">{game_name(item.game)}<br>difference {item.difference}, distance {item.distance:.0f}{source}</article>
"""
