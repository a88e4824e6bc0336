"""An explanation as one HTML page that needs nothing else: boards in SVG, neighbours beside the position."""

from __future__ import annotations

from html import escape

import chess
import chess.svg

from dejavu.engine.pages.parts import wdl_text
from dejavu.model.chess.encoding import index_to_move
from dejavu.model.explanation import Explanation, NeighbourDescription
from dejavu.retrieval.moves import NO_MOVE

WITH_MEMORY, WITHOUT_MEMORY, PLAYED = "#15803d", "#2563eb", "#b45309"
TOP_MOVES = 6
ARROWS = 3

_STYLE = f"""
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; color: #1c1917;
  background: #fafaf9; }}
main {{ display: grid; grid-template-columns: minmax(20rem, 26rem) 1fr; gap: 2rem; align-items: start; }}
h1 {{ font-size: 1.5rem; margin: 0; }} h2 {{ font-size: 1.1rem; margin: 0 0 .6rem; }}
svg {{ width: 100%; height: auto; display: block; }}
table {{ border-collapse: collapse; width: 100%; margin-top: .8rem; font-variant-numeric: tabular-nums; }}
td, th {{ text-align: right; padding: .15rem .4rem; border-bottom: 1px solid #e7e5e4; font-weight: normal; }}
td:first-child, th:first-child {{ text-align: left; }}
.with {{ color: {WITH_MEMORY}; }} .without {{ color: {WITHOUT_MEMORY}; }}
.neighbours {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); gap: 1.2rem; }}
article {{ background: white; border: 1px solid #e7e5e4; border-radius: .5rem; padding: .8rem; }}
article p {{ margin: .4rem 0 0; }} .quiet {{ color: #57534e; font-size: .87rem; overflow-wrap: anywhere; }}
@media (max-width: 50rem) {{ main {{ grid-template-columns: 1fr; }} }}
"""


def page(board: chess.Board, explanation: Explanation, title: str) -> str:
    """The page about `board`; `title` names the network and its memory."""
    moves = [(index_to_move(item.move, board), item) for item in explanation.moves]
    bare = sorted(moves, key=lambda pair: -pair[1].without_memory)[:ARROWS]
    arrows = [_arrow(move, WITHOUT_MEMORY, item.without_memory) for move, item in bare]
    arrows += [_arrow(move, WITH_MEMORY, item.with_memory) for move, item in moves[:ARROWS]]
    rows = "".join(
        f"<tr><td>{escape(board.san(move))}<td class=with>{item.with_memory:.1%}<td class=without>"
        f"{item.without_memory:.1%}<td>{item.with_memory - item.without_memory:+.1%}"
        for move, item in moves[:TOP_MOVES]
    )
    cards = "".join(_card(neighbour, board) for neighbour in explanation.neighbours)
    number = len(explanation.neighbours)
    counted = "1 neighbour" if number == 1 else f"{number} neighbours"
    side = "White" if board.turn == chess.WHITE else "Black"
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Dejavu: what it remembers</title><style>{_STYLE}</style>
<h1>What Dejavu remembers</h1>
<p class="quiet">{escape(title)}<br>{escape(board.fen())}</p>
<main><section><h2>{side} to move</h2>{_svg(board, arrows)}
<table><tr><th>move<th class=with>with memory<th class=without>without<th>change</tr>{rows}
<tr><td>win / draw / loss<td class=with>{wdl_text(explanation.with_memory)}<td class=without>
{wdl_text(explanation.without_memory)}<td></table></section>
<section><h2>{counted}</h2><div class="neighbours">{cards}</div></section></main>
</html>
"""


def _arrow(move: chess.Move, colour: str, share: float) -> chess.svg.Arrow:
    """The likelier, the stronger."""
    opacity = f"{round(70 + 185 * share):02x}"
    return chess.svg.Arrow(move.from_square, move.to_square, color=colour + opacity)


def _svg(board: chess.Board, arrows: list[chess.svg.Arrow]) -> str:
    return chess.svg.board(board, orientation=board.turn, arrows=arrows)


def _card(neighbour: NeighbourDescription, asked: chess.Board) -> str:
    board = neighbour.board(asked)
    move = None if neighbour.move == NO_MOVE else index_to_move(neighbour.move, board)
    arrows = [] if move is None else [chess.svg.Arrow(move.from_square, move.to_square, color=PLAYED + "cc")]
    chunk = neighbour.chunk(asked)
    where = f" on {chunk}" if chunk else ""
    evaluated = "not evaluated"
    if neighbour.is_evaluated:
        evaluated = f'{wdl_text(neighbour.wdl)} <span class="quiet">win / draw / loss</span>'
    return f"""<article>{_svg(board, arrows)}
<p><b>{escape(neighbour.line(asked)) or "nothing was played"}</b>
<p>{evaluated}
<p>moved the policy by {neighbour.policy_change:.1%}, the value by {neighbour.value_change:+.3f}
<p class="quiet">distance {neighbour.distance:.0f}{where}<br>{escape(neighbour.game)}</article>
"""
