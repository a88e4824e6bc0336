"""What the network was reminded of in a position or a whole game, and how much each neighbour moved its evaluation.

    python scripts/explain.py "r1bqkbnr/pppp1ppp/2n5/4p3/4P3/5N2/PPPP1PPP/RNBQKBNR w KQkq - 2 3" --html runs/why.html
    python scripts/explain.py startpos --moves e2e4 c7c5
    python scripts/explain.py games.pgn --game 2 --html runs/report.html

Of a position it tells the neighbours. The influence of a neighbour is what changes when it alone is left out: the share
of the policy that moves to other moves, and win minus loss. Of a game of a PGN file it searches every position and
tells where it would have played another move, since when the game was new to it, and, on the page, what is like it.
"""

from __future__ import annotations

import argparse
import os
from contextlib import closing
from functools import partial
from pathlib import Path

import chess
import numpy as np
from command_line.arguments import positive
from command_line.exit import one_sentence

from dejavu.engine.loader import wanted
from dejavu.engine.match.players import PlayerError
from dejavu.engine.options import Config
from dejavu.engine.pages.explanation import page
from dejavu.engine.pages.game import game_page, move_lines, summary
from dejavu.engine.seeing.played import QuestionError, is_game_file, read_game, read_position
from dejavu.engine.seeing.review import review
from dejavu.engine.seeing.words import explanation_lines
from dejavu.model.chess.encoding import clock_byte, pack, stack
from dejavu.model.inference import NetworkEvaluator
from dejavu.model.weights import WeightsError
from dejavu.retrieval.atomic import write_text
from dejavu.retrieval.memory import MemoryFileError
from dejavu.retrieval.progress import Stages


def position(fen: str, moves: list[str]) -> tuple[chess.Board, int]:
    """The board after `moves`, and its clock byte; raises ValueError for what is not chess."""
    board = read_position(fen)
    for move in moves:
        board.push_uci(move)
    if not any(board.legal_moves):
        raise ValueError(f"there is nothing to explain: the game is over in {board.fen()}")
    return board, clock_byte(board.halfmove_clock, board.is_repetition(2))


def explain_position(arguments: argparse.Namespace) -> None:
    """Print what there is to say of a position, and write the page if one is wanted."""
    board, clock = position(arguments.question, arguments.moves)
    evaluator = NetworkEvaluator.load(arguments.weights, arguments.memory, os.cpu_count() or 1)
    explanation = evaluator.explain(stack([pack(board)]), np.array([clock], np.uint8))
    assert explanation is not None
    print("\n".join(explanation_lines(board, explanation)))
    if arguments.html:
        write_text(arguments.html, page(board, explanation, evaluator.describe()))
        print(f"wrote {arguments.html}")


def explain_game(arguments: argparse.Namespace) -> None:
    """The same for a whole game."""
    game = read_game(Path(arguments.question), arguments.game)
    evaluator = NetworkEvaluator.load(arguments.weights, arguments.memory, os.cpu_count() or 1)
    with closing(Stages("positions")) as stages:
        found = review(game, evaluator, arguments.nodes, partial(stages, "searched"))
    for line in move_lines(found):
        print(line)
    print(summary(found))
    if arguments.html:
        write_text(arguments.html, game_page(found))
        print(f"wrote {arguments.html}")


def main() -> None:
    shipped = wanted(Config())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", metavar="FEN|PGN", help="a position, startpos, or a game file")
    parser.add_argument("--moves", nargs="*", default=[], help="played from the position, as e2e4")
    parser.add_argument("--game", type=positive, default=1, help="which game of the file (1)")
    parser.add_argument("--nodes", type=positive, default=400, help="nodes a move of a game (400)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with boards, too")
    parser.add_argument("--weights", type=Path, default=shipped.weights, help="default: the shipped ones")
    parser.add_argument("--memory", type=Path, default=shipped.memory, help="default: the shipped one")
    arguments = parser.parse_args()
    errors = (WeightsError, MemoryFileError, QuestionError, PlayerError, ValueError, OSError)
    with one_sentence("explain", *errors):
        if is_game_file(arguments.question):
            explain_game(arguments)
        else:
            explain_position(arguments)


if __name__ == "__main__":
    main()
