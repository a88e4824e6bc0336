"""What the page asks of the engine: a position looked at, searched, taught, forgotten; a FEN or a game pasted.

Every answer is JSON. Questions are answered one after the other, since one network answers them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import chess

from dejavu.engine.loader import load_network
from dejavu.engine.options import Config
from dejavu.engine.pages.told import memory_told, similar_told
from dejavu.engine.search.evaluator import Searchable
from dejavu.engine.search.game import Game, PositionError, packed_position
from dejavu.engine.search.limits import Limits
from dejavu.engine.search.lines import BestMove, Info
from dejavu.engine.seeing.played import QuestionError, parse_game
from dejavu.engine.seeing.review import Evaluation
from dejavu.engine.seeing.words import LINE_PLIES
from dejavu.engine.uci.session import Session
from dejavu.model.inference import NetworkEvaluator

NODES = 400
"""Of the search behind an evaluation: a second or less."""
SIMILAR_POSITIONS = 8
LONGEST_GAME = 1000
"""Plies."""

QUESTION_ERRORS = (PositionError, QuestionError)
"""What a question that makes no sense raises; the message is one sentence."""


class Explorer:
    """The engine behind the page."""

    def __init__(self, config: Config) -> None:
        self._said: list[str] = []
        self._session = Session(load_network, self._said.append)
        self._session.configure(config)
        self._turn = threading.Lock()

    def start(self) -> list[str]:
        """Load net and memory; -> what there is to say of it."""
        with self._turn:
            self._session.prepare()
            return [self._session.network, *self._heard()]

    def position(self, fen: str | None, moves: Sequence[str]) -> dict[str, Any]:
        """What there is to say of a position without a search: legal moves, what the memory says, what is like it.

        `fen` None is the usual start. Raises QUESTION_ERRORS.
        """
        game = _game(fen, moves)
        board = game.board
        found: dict[str, Any] = {
            "fen": board.board_fen(),
            "whole": board.fen(),
            "white": board.turn == chess.WHITE,
            "legal": [[move.uci(), _numbered(board, move)] for move in board.legal_moves],
        }
        if not found["legal"]:
            return found | {"over": "checkmate" if board.is_check() else "stalemate", "similar": []}
        planes, clocks = packed_position(game)
        with self._turn:
            self._session.prepare()
            evaluator = self._session.evaluator
            if isinstance(evaluator, NetworkEvaluator) and (explained := evaluator.explain(planes, clocks)) is not None:
                found |= memory_told(explained, board)
            similar = (
                evaluator.similar(board, int(clocks[0]), SIMILAR_POSITIONS) if isinstance(evaluator, Searchable) else ()
            )
            found["similar"] = [similar_told(item, board) for item in similar]
            return found | {"said": self._heard()}

    def search(self, fen: str | None, moves: Sequence[str]) -> dict[str, Any]:
        """The evaluation and the best line of a short search. Raises QUESTION_ERRORS."""
        board = _game(fen, moves).board
        infos: list[Info] = []
        answered = threading.Event()

        def answer(best: BestMove) -> None:
            answered.set()

        with self._turn:
            self._session.set_position(fen, moves)
            self._session.go(Limits(nodes=NODES), infos.append, answer)
            answered.wait()
            self._session.stop()
            said = self._heard()
        if not infos or not infos[-1].lines or not infos[-1].lines[0].moves:
            return {"said": said}
        line = infos[-1].lines[0]
        win, draw, loss = (share / 1000 for share in line.wdl)
        played, after = [], board.copy(stack=False)
        for text in line.moves[:LINE_PLIES]:
            played.append(after.parse_uci(text))
            after.push(played[-1])
        score = Evaluation((win, draw, loss), line.mate, tuple(played)).words(board.turn)
        return {"score": score, "line": board.variation_san(played).replace(". ", "."), "said": said}

    def teach(self, fen: str | None, moves: Sequence[str], move: str) -> dict[str, Any]:
        """Remember `move` as the best one of a position; what came of it. Raises QUESTION_ERRORS."""
        with self._turn:
            self._session.set_position(fen, moves)
            return {"said": [self._session.teach(move), *self._heard()]}

    def forget(self, fen: str | None, moves: Sequence[str]) -> dict[str, Any]:
        """Forget what was learned of a position; what came of it. Raises QUESTION_ERRORS."""
        with self._turn:
            self._session.set_position(fen, moves)
            return {"said": [self._session.forget_position(), *self._heard()]}

    def _heard(self) -> list[str]:
        """What the engine has said since it was asked last."""
        said, self._said[:] = self._said[:], []
        return said


def pasted(text: str) -> dict[str, Any]:
    """The start and the moves, [UCI, SAN], of a FEN or of the first game of a PGN. Raises QUESTION_ERRORS."""
    text = text.strip()
    if not text:
        raise QuestionError("paste a FEN, or a game as PGN")
    if text.count("/") >= 7 and "\n" not in text and "[" not in text:
        return {"fen": Game(text, chess960=False).board.fen(), "moves": []}
    game = parse_game(text, "the text")
    board = game.board()
    if board.chess960:
        raise QuestionError("a game of Chess960 cannot be shown here")
    start = None if board.fen() == chess.STARTING_FEN else board.fen()
    moves = []
    for move in list(game.mainline_moves())[:LONGEST_GAME]:
        moves.append([move.uci(), _numbered(board, move)])
        board.push(move)
    return {"fen": start, "moves": moves}


def _game(fen: str | None, moves: Sequence[str]) -> Game:
    if len(moves) > LONGEST_GAME:
        raise QuestionError(f"a game of {len(moves):,} moves is longer than {LONGEST_GAME:,}")
    game = Game(fen, chess960=False)
    for move in moves:
        game.play(move)
    return game


def _numbered(board: chess.Board, move: chess.Move) -> str:
    """A move in SAN with its number: "12.Bg5", "12...Nf6"."""
    return f"{board.fullmove_number}{'.' if board.turn == chess.WHITE else '...'}{board.san(move)}"
