"""What the user may ask to see: the board, what the network says of it, and which neighbours stand behind a move."""

from __future__ import annotations

import logging

import chess
import numpy as np

from dejavu.engine.search.evaluator import Evaluator, Remembering, Searchable, expansions
from dejavu.engine.search.game import Game, packed_position
from dejavu.engine.seeing.words import remembered_from, similar_line
from dejavu.model.chess.encoding import index_to_move, move_to_index

TOP_MOVES = 10
"""Moves that `eval` lists."""

_log = logging.getLogger("dejavu")


def board_lines(board: chess.Board) -> list[str]:
    """Board, FEN, legal moves."""
    legal = " ".join(sorted(move.uci() for move in board.legal_moves))
    return [*str(board).splitlines(), f"fen {board.fen()}", f"legal {legal or 'none'}"]


def evaluation_lines(evaluator: Evaluator, has_memory: bool, game: Game) -> list[str]:
    """What the network says of a position without any search: with the memory, if it has one, and without.

    Nothing else may use the evaluator meanwhile.
    """
    board = game.board
    planes, clocks = packed_position(game)
    lines = [evaluator.describe()]
    for use_memory in (True, False) if has_memory else (False,):
        expansion = expansions(evaluator.evaluate(planes, clocks, use_memory), 1.0)[0]
        win, loss = (1 + expansion.value - expansion.draw) / 2, (1 - expansion.value - expansion.draw) / 2
        memory = "with memory" if use_memory else "without memory"
        lines.append(f"{memory}: win {win:.1%} draw {expansion.draw:.1%} loss {loss:.1%}")
        moves = np.frombuffer(expansion.moves, np.uint16).tolist()[:TOP_MOVES]
        priors = np.frombuffer(expansion.priors, np.float32).tolist()
        named = zip((index_to_move(move, board).uci() for move in moves), priors, strict=False)
        lines.append(f"{memory}: " + " ".join(f"{move} {prior:.1%}" for move, prior in named))
    if isinstance(evaluator, Remembering):
        lines += [neighbour.describe(board) for neighbour in evaluator.neighbours(planes, clocks)]
    return lines


def prepare_neighbours(evaluator: Evaluator) -> None:
    """Ask for neighbours once: the first time takes seconds, which no clock should lose."""
    if isinstance(evaluator, Remembering):
        try:
            evaluator.neighbours(*packed_position(Game(None, chess960=False)))
        except Exception:
            _log.exception("the neighbours cannot be told")  # the user hears of it with the first move


def neighbour_lines(evaluator: Evaluator, game: Game, best: str) -> list[str]:
    """The neighbours that counted, where the move was played that is played now; whatever fails is said there."""
    if not isinstance(evaluator, Remembering):
        return []
    played = move_to_index(game.board.parse_uci(best), game.board)
    try:
        counted = [item for item in evaluator.neighbours(*packed_position(game)) if item.counted]
    except Exception as error:  # the move is still to be answered
        _log.exception("the neighbours cannot be told")
        return [f"the neighbours cannot be told: {type(error).__name__}: {error}"]
    neighbours = [item for item in counted if item.move == played]
    return [remembered_from(item, game.board) for item in neighbours] or [f"no neighbour played {best}"]


def similar_lines(evaluator: Evaluator, game: Game, count: int) -> list[str]:
    """The remembered positions most like the current one, no two of one game."""
    _, clocks = packed_position(game)
    found = evaluator.similar(game.board, int(clocks[0]), count) if isinstance(evaluator, Searchable) else ()
    return [f"similar {number}: {similar_line(item, game.board)}" for number, item in enumerate(found, start=1)] or [
        "no memory is loaded, so nothing similar is remembered"
    ]
