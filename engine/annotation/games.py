"""Games whose every position the teacher labels: its own, and given ones."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from random import Random

import chess
import chess.engine
import chess.pgn

from dejavu.engine.annotation.lessons import add_labelled, to_text
from dejavu.engine.annotation.teacher import TEACHER_ERRORS, Teacher, Verdict
from dejavu.engine.match.adjudication import Resigning, ResignRule
from dejavu.engine.match.openings import Opening
from dejavu.model.data.games import BrokenGameError, read_game

RESIGN = ResignRule(movecount=5, score=1500, twosided=True)
"""What ends a game of the teacher's own, whose word is that of both sides."""
RESULTS = ("1-0", "1/2-1/2", "0-1", "*")
SOURCE_TAG = "LabelledFrom"
"""Header of a given game that says where it was found; a game of the teacher's own has its number as the Round."""


@dataclass(frozen=True)
class OwnGames:
    """How the teacher's own games are played."""

    openings: tuple[Opening, ...]
    """Each has its turn."""
    seed: int
    random_plies: tuple[int, int]
    """Least and most random moves at the start."""
    random_moves: float
    """Share of random moves after that."""
    plies: int
    """Length at which a game stops without a result."""


@dataclass(frozen=True)
class GameTask:
    """A game to play, or to label where there is a text."""

    where: str
    """File and number of a given game; the number of the teacher's own."""
    text: str = ""


@dataclass(frozen=True)
class GameAnswer:
    """What became of a task."""

    text: str = ""
    """The PGN, empty for a game without moves or with a problem."""
    problem: str = ""
    result: str = "*"
    positions: int = 0
    random_moves: int = 0


class OwnMoves:
    """Chooses the moves of a game of the teacher's own, and ends it."""

    def __init__(self, random: Random, settings: OwnGames) -> None:
        self.random = random
        self.settings = settings
        self.random_plies = random.randint(*settings.random_plies)
        self.random_moves = 0
        self.resigning = Resigning(RESIGN)
        self.result, self.termination = "*", "unterminated"

    def __call__(self, board: chess.Board, verdict: Verdict) -> chess.Move | None:
        if verdict.outcome is not None:
            self.result, self.termination = verdict.outcome.result(), "normal"
            return None
        score = None if verdict.score is None else verdict.score.pov(board.turn)
        loser = self.resigning.after(board.turn, score)
        if loser is not None:
            self.result, self.termination = "0-1" if loser == chess.WHITE else "1-0", "adjudication"
            return None
        ply = len(board.move_stack)
        if ply >= self.settings.plies:
            return None
        if ply < self.random_plies or self.random.random() < self.settings.random_moves:
            self.random_moves += 1
            return self.random.choice(list(board.legal_moves))
        return verdict.best


NextMove = Callable[[chess.Board, Verdict], "chess.Move | None"]


def write_moves(game: chess.pgn.Game, teacher: Teacher, next_move: NextMove, claim_draw: bool) -> int:
    """Add moves with the teacher's evaluations and better moves until there is no next one; counts the positions."""
    board = game.board()
    node: chess.pgn.GameNode = game
    while True:
        verdict = teacher.evaluate(board, game, claim_draw)
        move = next_move(board, verdict)
        if move is None:
            node.set_eval(verdict.score)
            return len(board.move_stack) + 1
        node = add_labelled(node, verdict.best, verdict.score, move)
        board.push(move)


def own_game(number: str, teacher: Teacher, own: OwnGames) -> GameAnswer:
    """Play a game that depends on the seed and its number only, whoever plays it and when."""
    opening = own.openings[(int(number) - 1) % len(own.openings)]
    game = chess.pgn.Game()
    game.setup(chess.Board(opening.board().fen()))
    moves = OwnMoves(Random(f"{own.seed} {number}"), own)
    positions = write_moves(game, teacher, moves, claim_draw=True)
    game.headers.update(Event="Dejavu training", Date=date.today().strftime("%Y.%m.%d"), Round=number)
    game.headers.update(White=teacher.name, Black=teacher.name, Annotator=teacher.name, Seed=str(own.seed))
    game.headers.update(Result=moves.result, Termination=moves.termination)
    if match := re.fullmatch(r"(?:([A-E]\d\d) )?(.+)", opening.name.strip()):
        game.headers.update({"ECO": match[1], "Opening": match[2]} if match[1] else {"Opening": match[2]})
    return GameAnswer(to_text(game), "", moves.result, positions, moves.random_moves)


def labelled_game(task: GameTask, teacher: Teacher) -> GameAnswer:
    """Label every position of a given game; BrokenGameError where training could not read it."""
    read_game(task.text)
    given = chess.pgn.read_game(io.StringIO(task.text))
    if given is None or given.next() is None:
        return GameAnswer()
    game = chess.pgn.Game(given.headers)
    moves = iter(given.mainline_moves())
    positions = write_moves(game, teacher, lambda *_: next(moves, None), claim_draw=False)
    result = game.headers.get("Result", "*")
    # The parser takes any text for a result, but as the last word of the moves it has to be one.
    result = result if result in RESULTS else "*"
    game.headers.update({"Result": result, "Annotator": teacher.name, SOURCE_TAG: task.where})
    return GameAnswer(to_text(game), "", result, positions)


def answer(task: GameTask, teacher: Teacher, own: OwnGames) -> GameAnswer:
    """Do a task; a teacher that fails is started anew once, then the game is given up."""
    problem = ""
    for _ in range(2):
        try:
            return labelled_game(task, teacher) if task.text else own_game(task.where, teacher, own)
        except BrokenGameError as error:
            return GameAnswer(problem=f"broken: {task.where}: {error}")
        except TEACHER_ERRORS as error:
            where = task.where if task.text else f"game {task.where}"
            problem = f"lost: {where}: the teacher failed twice: {error or 'no answer'}"
    return GameAnswer(problem=problem)
