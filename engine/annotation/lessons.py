"""Lessons: PGN in the Lichess convention, `[%eval x]` after a move and the better move as a variation beside it."""

from __future__ import annotations

import chess
import chess.engine
import chess.pgn


def add_labelled(
    node: chess.pgn.GameNode, best: chess.Move | None, score: chess.engine.PovScore | None, played: chess.Move | None
) -> chess.pgn.GameNode:
    """Add what is said of the position at `node`, and the move played there; -> the node after that.

    Where nothing was played, the best move ends the line; one of both has to be there.
    """
    node.set_eval(score)
    move = played if played is not None else best
    assert move is not None
    following = node.add_main_variation(move)
    if played is None:
        following.set_eval(after_best(score))
    elif best is not None and best != played:
        node.add_variation(best).set_eval(after_best(score))
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
