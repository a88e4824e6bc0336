"""A whole game as one HTML page that needs nothing else: its curve, its moves, what was remembered at each of them.

What changes from move to move is in the page as JSON; a script draws it, and puts names and moves in as text only.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from typing import Any

import chess
import chess.pgn
import chess.svg

from dejavu.engine.pages.parts import document, resource
from dejavu.engine.pages.told import json_text, memory_told, similar_told
from dejavu.engine.seeing.review import Moment, Review
from dejavu.engine.seeing.words import AS_PLAYED, LINE_PLIES
from dejavu.retrieval.names import LONGEST_SHOWN
from dejavu.retrieval.text import plain, shortened

GREAT_LOSS = 0.1
"""A move that loses so many points is marked as an error."""

_WIDTH, _HEIGHT = 600, 120
"""Of the curve, in its own units."""

_SCRIPT, _STYLE = resource("board.js") + resource("game.js"), resource("game.css")


def game_page(review: Review) -> str:
    """The page about a game."""
    headers = review.game.headers
    title = " - ".join(_header(headers, name) or "?" for name in ("White", "Black"))
    about = ", ".join(filter(None, (_header(headers, name) for name in ("Event", "Date", "Opening", "ECO", "Result"))))
    pieces = "".join(chess.svg.PIECES.values())
    data = json_text([_moment(review, ply) for ply in range(len(review.moments))])
    body = f"""<h1>{escape(title)}</h1>
<p class="quiet">{escape(about)}</p><p>{escape(summary(review))}</p>
<noscript><p>The board needs JavaScript, which this page brings along.</p></noscript>
{_curve(review)}
<main><section><div id="board"></div><nav><button id="first" title="first move">&#124;&#9664;</button>
<button id="back" title="a move back (left arrow)">&#9664;</button>
<button id="forward" title="a move on (right arrow)">&#9654;</button>
<button id="last" title="end of the game">&#9654;&#124;</button>
<button id="next" title="to the next move that the engine would not have played">next moment</button></nav>
<p class="quiet key"><span class="played">&#9632;</span> played <span class="with">&#9632;</span> with memory
<span class="without">&#9632;</span> without</p></section>
<section id="about" aria-live="polite"></section>
<section id="moves"><h2>Moves</h2>{_moves(review.moments)}
<p class="quiet"><span class="other">Underlined</span>: the engine would have played another move
(<span class="other great">and more than {GREAT_LOSS:.0%} of a point better</span>).
<span class="known">Green</span>: remembered.</p></section></main>
<section><h2>Similar positions</h2><p class="quiet">{AS_PLAYED}</p><div class="cards" id="similar"></div></section>
<svg width="0" height="0" class="pieces"><defs>{pieces}</defs></svg>
<script type="application/json" id="game">{data}</script>
<script>{_SCRIPT}</script>"""
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    return document(f"{title}: what Dejavu remembers", _STYLE, body, f"; script-src 'sha256-{digest}'")


def _header(headers: chess.pgn.Headers, name: str) -> str:
    value = shortened(plain(headers.get(name, "")), LONGEST_SHOWN)
    return "" if not value.strip("?.") else value


def summary(review: Review) -> str:
    """Since when the game is new, and how often the engine would have played another move."""
    moments, new = review.moments, review.new_from
    if new is None:
        remembered = "Every position of the game is remembered."
    elif new == 0:
        remembered = "The game does not begin in the memory."
    else:
        remembered = f"New from {numbered(moments[new - 1])}: up to there the positions are remembered."
    others = sum(moment.other_move is not None for moment in moments)
    great = sum(moment.lost >= GREAT_LOSS for moment in moments)
    return (
        f"{remembered} With {review.nodes} nodes a move the engine would have played {others} of the "
        f"{len(moments) - 1} moves otherwise, {great} of them for more than {GREAT_LOSS:.0%} of a point."
    )


def move_lines(review: Review) -> list[str]:
    """A line for every move that the engine would not have played."""
    return [
        f"{numbered(moment)}: {moment.evaluation.words(moment.board.turn)}, the engine would have played "
        f"{moment.board.san(moment.other_move)}, for {moment.lost:.0%} of a point more"
        for moment in review.moments
        if moment.other_move is not None
    ]


def numbered(moment: Moment) -> str:
    """The move played, with its number: "12.Bg5", "12...Nf6"."""
    assert moment.played is not None
    dots = "." if moment.board.turn == chess.WHITE else "..."
    return f"{moment.board.fullmove_number}{dots}{moment.board.san(moment.played)}"


def _curve(review: Review) -> str:
    """White's expected points, move by move."""
    moments = review.moments
    step = _WIDTH / max(1, len(moments) - 1)
    heights = [_HEIGHT * (1 - moment.evaluation.white_score(moment.board.turn)) for moment in moments]
    points = " ".join(f"{ply * step:.1f},{height:.1f}" for ply, height in enumerate(heights))
    marks = "".join(
        f'<path class="great" d="M{ply * step:.1f} {heights[ply]:.1f}h0"/>'
        for ply, moment in enumerate(moments)
        if moment.lost >= GREAT_LOSS
    )
    new = review.new_from
    line = f'<path class="new" d="M{new * step:.1f} 0V{_HEIGHT}"/>' if new else ""
    return f"""<svg id="curve" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img"
aria-label="White's expected points">
<rect class="black" width="{_WIDTH}" height="{_HEIGHT}"/><polygon class="white" points="0,{_HEIGHT} {points}
{_WIDTH},{_HEIGHT}"/><path class="half" d="M0 {_HEIGHT / 2}H{_WIDTH}"/>{line}<polyline points="{points}"/>{marks}
<path id="cursor" d="M0 0V{_HEIGHT}"/></svg><p class="quiet">White's expected points; dots: moves that lost more than
{GREAT_LOSS:.0%} of a point; dashed: where the memory ends. Click, or use the arrow keys.</p>"""


def _moves(moments: Sequence[Moment]) -> str:
    """Links to all moves; a script makes them work."""
    words = []
    for ply, moment in enumerate(moments):
        if moment.played is None:
            words.append(f'<a href="#{ply}" data-ply="{ply}">end</a>')
            continue
        is_numbered = moment.board.turn == chess.WHITE or not ply
        number = f"{moment.board.fullmove_number}{'.' if moment.board.turn == chess.WHITE else '...'}"
        classes = ["other"] * (moment.other_move is not None) + ["great"] * (moment.lost >= GREAT_LOSS)
        classes += ["known"] * moment.is_remembered
        words.append(
            f'<a href="#{ply}" data-ply="{ply}" class="{" ".join(classes)}">'
            f"{number if is_numbered else ''}{escape(moment.board.san(moment.played))}</a>"
        )
    return f"<p>{' '.join(words)}</p>"


def _moment(review: Review, ply: int) -> dict[str, Any]:
    """What the script shows of one moment."""
    moment = review.moments[ply]
    board, other = moment.board, moment.other_move
    found: dict[str, Any] = {
        "fen": board.board_fen(),
        "title": "The end of the game" if moment.played is None else numbered(moment),
        "score": moment.evaluation.words(board.turn),
        "line": board.variation_san(moment.evaluation.line[:LINE_PLIES]).replace(". ", "."),
        "similar": [similar_told(item, board) for item in moment.similar],
    }
    if moment.played is not None:
        found["played"] = moment.played.uci()
    if other is not None:
        found |= {"other": board.san(other), "lost": round(100 * moment.lost)}
    if moment.explanation is not None:
        found |= memory_told(moment.explanation, board)
    if ply == review.new_from and ply:
        found["new"] = numbered(review.moments[ply - 1])
    return found
