"""Lessons: PGN in the Lichess convention, `[%eval x]` after a move and the better move as a variation beside it."""

from __future__ import annotations

from collections.abc import Sequence

import chess
import chess.engine
import chess.pgn


def add_labelled(
    node: chess.pgn.GameNode,
    best: chess.Move | None,
    score: chess.engine.PovScore | None,
    played: chess.Move | None,
    line: Sequence[chess.Move] = (),
) -> chess.pgn.GameNode:
    """Add what is said of the position at `node`, and the move played there; -> the node after that.

    Where nothing was played, the best move ends the game; one of both has to be there. How play would go on after the
    best move, `line`, stands in a variation that begins with it, even beside itself.
    """
    node.set_eval(score)
    move = played if played is not None else best
    assert move is not None
    following = node.add_main_variation(move)
    if played is None:
        following.set_eval(after_best(score))
    if best is not None and (line or best != move):
        better: chess.pgn.GameNode = node.add_variation(best)
        better.set_eval(after_best(score))
        for later in line:
            better = better.add_variation(later)
    return following


def after_best(score: chess.engine.PovScore | None) -> chess.engine.PovScore | None:
    """The evaluation after the best move: the same, but for a mate that is a move nearer now."""
    mate = None if score is None else score.relative.mate()
    if score is None or mate is None or mate <= 0:
        return score
    return chess.engine.PovScore(chess.engine.Mate(mate - 1), score.turn) if mate > 1 else None


def to_text(game: chess.pgn.Game) -> str:
    """PGN of a game: headers, an empty line, all moves in one line, an empty line."""
    return game.accept(chess.pgn.StringExporter(columns=None)) + "\n\n"
