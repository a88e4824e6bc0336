"""A whole game looked through: what a search thinks of every position, what the memory says, and what is like it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import chess
import chess.pgn
import numpy as np

from dejavu.engine.match.batch import FULL_BATCHES, SearchingGame, SharedPlayer, play_together
from dejavu.engine.match.pace import Pace
from dejavu.engine.match.players import PlayerSettings
from dejavu.engine.match.solving import AnswerKeeper
from dejavu.engine.search.evaluator import priors
from dejavu.engine.search.lines import Info
from dejavu.engine.search.search import Search
from dejavu.engine.seeing.words import pawns
from dejavu.model.chess.encoding import clock_byte, pack, stack
from dejavu.model.explanation import Explanation, MoveChange
from dejavu.model.inference import NetworkEvaluator
from dejavu.model.remembered import Wdl
from dejavu.model.similar import Similar

AT_ONCE = 32
"""Searches that share a batch."""

KEPT_ANSWERS = 100_000
"""Answers of the network, some 100 MB: searches of neighbouring positions look at many of the same positions."""

SIMILAR_POSITIONS = 4

FORGOTTEN_PLIES = 4
"""So many positions in a row that are not remembered mean that the game has left the memory."""


@dataclass(frozen=True)
class Evaluation:
    """What a search thinks of a position."""

    wdl: Wdl
    """Of the side to move."""
    mate: int | None
    """Moves to mate, negative if the side to move is mated; 0 if it is."""
    line: tuple[chess.Move, ...]
    """The best line; empty if the game is over."""

    def white_score(self, turn: chess.Color) -> float:
        """The points that White may expect, 0 to 1."""
        win, draw, _ = self.wdl
        return win + draw / 2 if turn == chess.WHITE else 1 - win - draw / 2

    def words(self, turn: chess.Color) -> str:
        """The evaluation from White's side: "+0.3", "#-4"."""
        if self.mate is None:
            return pawns(self.wdl, turn)
        return "#" if not self.mate else f"#{self.mate if turn == chess.WHITE else -self.mate}"


@dataclass(frozen=True)
class Moment:
    """A position of the game, and the move that was played there."""

    board: chess.Board
    played: chess.Move | None
    """None at the end of the game."""
    evaluation: Evaluation
    lost: float
    """Points that the player may expect less after the move played than before it, 0 to 1; 0 for the engine's move."""
    explanation: Explanation | None
    """None where the game is over by rule."""
    similar: Sequence[Similar]

    @property
    def is_remembered(self) -> bool:
        """Whether the memory has this very position."""
        packed = pack(self.board)
        return self.explanation is not None and any(item.packed == packed for item in self.explanation.neighbours)

    @property
    def other_move(self) -> chess.Move | None:
        """What the engine would have played, if that is another move."""
        best = self.evaluation.line[0] if self.evaluation.line else None
        return best if self.played is not None and best != self.played else None


@dataclass(frozen=True)
class Review:
    """A game and what is to be said of it."""

    game: chess.pgn.Game
    moments: Sequence[Moment]
    """One for every move, and one for the end."""
    nodes: int
    """Of each search."""

    @property
    def new_from(self) -> int | None:
        """Number of the first moment from which on the game is not remembered, see FORGOTTEN_PLIES.

        The last position of a game that is over by rule is none to be remembered, and does not count.
        """
        known = [moment.is_remembered for moment in self.moments if moment.explanation is not None]
        starts = (ply for ply in range(len(known)) if not any(known[ply : ply + FORGOTTEN_PLIES]))
        return next(starts, None)


Progress = Callable[[int, int], None]
"""(positions done, positions in all)"""


def review(game: chess.pgn.Game, evaluator: NetworkEvaluator, nodes: int, progress: Progress) -> Review:
    """Look through `game`: a search of so many nodes for every position. Raises PlayerError where it fails."""
    boards, board = [game.board()], game.board()
    for move in game.mainline_moves():
        board.push(move)
        boards.append(board.copy())
    evaluations = _evaluate(boards, evaluator, nodes, progress)
    moves = [*game.mainline_moves(), None]
    clocks = [clock_byte(board.halfmove_clock, board.is_repetition(2)) for board in boards]
    explanations = _explain(boards, clocks, evaluator)
    moments = []
    for number, (board, played) in enumerate(zip(boards, moves, strict=True)):
        evaluated, lost = evaluations[number], 0.0
        if played is not None and evaluated.line and evaluated.line[0] != played:
            before, after = evaluated.white_score(board.turn), evaluations[number + 1].white_score(not board.turn)
            lost = max(0.0, before - after if board.turn == chess.WHITE else after - before)
        similar = evaluator.similar(board, clocks[number], SIMILAR_POSITIONS)
        moments.append(Moment(board, played, evaluated, lost, explanations[number], similar))
    return Review(game, moments, nodes)


def _evaluate(
    boards: Sequence[chess.Board], evaluator: NetworkEvaluator, nodes: int, progress: Progress
) -> list[Evaluation]:
    """What searches think of the positions of a game; the board of each has the moves before on its stack."""
    options = {**FULL_BATCHES, "UCI_Chess960": str(boards[0].chess960).lower()}
    settings = PlayerSettings("the engine", (), Pace(nodes=nodes), options)
    keeper = AnswerKeeper(evaluator)
    player = SharedPlayer(settings, _ignore, lambda files: keeper)
    evaluations: dict[int, Evaluation] = {}
    searches = (_EvaluatingGame(number, board, player) for number, board in enumerate(boards))
    for done, search in enumerate(play_together(searches, AT_ONCE), start=1):
        evaluations[search.number] = search.evaluation
        if len(keeper) > KEPT_ANSWERS:
            keeper.forget()
        progress(done, len(boards))
    return [evaluations[number] for number in range(len(boards))]


def _explain(
    boards: Sequence[chess.Board], clocks: Sequence[int], evaluator: NetworkEvaluator
) -> list[Explanation | None]:
    """What the memory does to each position; None where the game is over by rule.

    Only where it does anything is it asked for more, which takes long.
    """
    planes, clock_bytes = stack([pack(board) for board in boards]), np.array(clocks, np.uint8)
    with_memory, without = (evaluator.evaluate(planes, clock_bytes, memory) for memory in (True, False))
    moves, shares = priors(without, 1.0)
    explanations: list[Explanation | None] = []
    for number in range(len(boards)):
        part = slice(without.offsets[number], without.offsets[number + 1])
        if part.start == part.stop:
            explanations.append(None)
        elif not np.array_equal(with_memory.logits[part], without.logits[part]):
            explanations.append(evaluator.explain(planes[number : number + 1], clock_bytes[number : number + 1]))
        else:
            win, draw, loss = without.wdl[number].tolist()
            known = zip(moves[part].tolist(), shares[part].tolist(), strict=True)
            changes = tuple(MoveChange(move, share, share) for move, share in known)
            explanations.append(Explanation(changes, (win, draw, loss), (win, draw, loss), ()))
    return explanations


class _EvaluatingGame(SearchingGame):
    """The search of one position."""

    def __init__(self, number: int, board: chess.Board, player: SharedPlayer) -> None:
        super().__init__()
        self.number = number
        self.evaluation = _by_rule(board)
        self._board = board
        self._player = player
        self._info: Info | None = None
        self._is_over = not any(board.legal_moves)

    @property
    def player(self) -> SharedPlayer:
        return self._player

    def _start(self) -> Search | None:
        if self._is_over:
            return None
        session = self._player.session()
        session.set_position(self._board.root().fen(), [move.uci() for move in self._board.move_stack])
        return session.search(self._player.limits, self._report)

    def _report(self, info: Info) -> None:
        self._info = info

    def _move(self, search: Search, reason: str) -> None:
        self._is_over = True
        search.answer(reason)
        assert self._info is not None
        line = self._info.lines[0]
        win, draw, loss = (share / 1000 for share in line.wdl)
        board, moves = self._board.copy(stack=False), []
        for text in line.moves:
            moves.append(board.parse_uci(text))
            board.push(moves[-1])
        self.evaluation = Evaluation((win, draw, loss), line.mate, tuple(moves))


def _by_rule(board: chess.Board) -> Evaluation:
    """What is to be said of a position without moves: lost or drawn."""
    return Evaluation((0, 0, 1), 0, ()) if board.is_check() else Evaluation((0, 1, 0), None, ())


def _ignore(text: str) -> None:
    pass
