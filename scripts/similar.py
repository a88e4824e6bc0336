"""Positions like a given one, from the games that a memory, or several, remember.

    python scripts/similar.py "r4rk1/pp2qppp/2n1bn2/3p4/3N4/2N1P1P1/PP3PBP/R2Q1RK1 w - - 3 13"
    python scripts/similar.py games.pgn --game 3 --move 17b --phase middlegame --html runs/similar.html
    python scripts/similar.py startpos --memory runs/memory.safetensors --memory runs/mine.safetensors --player ann

For a game file it is the position before a move of one of its games, the last of the first game unless told otherwise.
No two positions are of the same game. They are told in the colours of the position asked about; evaluations are in
pawns, from White's side. "difference" is how much of the board is another, "distance" how far the network's keys are.
Players and result are as the game was played: a memory does not keep who was to move, so where the colours are turned,
its White is Black here.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import chess
from command_line.arguments import positive
from command_line.exit import one_sentence

from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.engine.pages.similar import similar_page
from dejavu.engine.seeing.played import QuestionError, is_game_file, position_of, read_game, read_position
from dejavu.engine.seeing.words import similar_json, similar_line
from dejavu.model.chess.encoding import clock_byte
from dejavu.model.inference import load_backbone
from dejavu.model.measurement.measures import PHASES
from dejavu.model.similar import SAME_MATERIAL, FilterError, Filters, Similar, SimilarPositions
from dejavu.model.weights import WeightsError
from dejavu.retrieval.atomic import write_text
from dejavu.retrieval.memory import Memory, MemoryFileError
from dejavu.retrieval.names import RESULTS


def question(arguments: argparse.Namespace) -> tuple[chess.Board, int]:
    """The position asked about and its clock byte; raises QuestionError."""
    if is_game_file(arguments.question):
        return position_of(read_game(Path(arguments.question), arguments.game), arguments.move)
    board = read_position(arguments.question)
    return board, clock_byte(board.halfmove_clock, repeated=False)


def show(found: Sequence[Similar], asked: chess.Board, memories: Sequence[str]) -> None:
    """Print the positions for people."""
    if not found:
        print("nothing like it is remembered, or nothing that passes the filters")
    for number, item in enumerate(found, start=1):
        source = f" [{memories[item.memory]}]" if len(memories) > 1 else ""
        print(f"{number:3} {similar_line(item, asked)}{source}")


def main() -> None:
    shipped = wanted(Config())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", metavar="FEN|PGN", help="a position, startpos, or a game file")
    parser.add_argument("--game", type=positive, default=1, help="which game of the file (1)")
    parser.add_argument("--move", default="", help="before this move, as 17 or 17b (default: the end of the game)")
    parser.add_argument("--memory", type=Path, action="append", metavar="FILE", help="may be given several times")
    parser.add_argument("--weights", type=Path, default=shipped.weights, help="that made the memories (the shipped)")
    parser.add_argument("-k", type=positive, default=12, help="so many positions (12)")
    parser.add_argument("--same-game", action="store_true", help="several positions of one game, too")
    parser.add_argument("--player", default="", help="games of players whose names have this in them")
    parser.add_argument("--result", choices=RESULTS, default="", help="games that ended so, where the memory knows it")
    parser.add_argument("--phase", choices=PHASES, default="")
    parser.add_argument("--material", default="", help=f"{SAME_MATERIAL}, or White's and Black's pieces, as KRPPvKR")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with boards, too")
    arguments = parser.parse_args()
    errors = (WeightsError, MemoryFileError, QuestionError, FilterError, OSError)
    with one_sentence("similar", *errors):
        filters = Filters(arguments.player, arguments.result, arguments.phase, arguments.material)
        filters.check()
        board, clock = question(arguments)
        backbone = load_backbone(arguments.weights, os.cpu_count() or 1)
        paths: list[Path] = arguments.memory or [path for path in (shipped.memory,) if path is not None]
        memories = [Memory.open(path, backbone.fingerprint) for path in paths]
        positions = SimilarPositions(memories, backbone.embed_chunks)
        found = positions.find(board, clock, arguments.k, filters, arguments.same_game)
        names = [path.name for path in paths]
        if arguments.json:
            answer = {"fen": board.fen(), "similar": [similar_json(item, board, names[item.memory]) for item in found]}
            print(json.dumps(answer, indent=1, ensure_ascii=False))
        else:
            show(found, board, names)
        if arguments.html:
            write_text(arguments.html, similar_page(board, found, names))
            if not arguments.json:
                print(f"wrote {arguments.html}")


if __name__ == "__main__":
    main()
