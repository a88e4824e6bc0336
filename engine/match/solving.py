"""Positions with a known best move, searched by several players at once: settings compared without games.

A game says won or lost after a hundred moves; a position with a known move says right or wrong at once, and all
players face the same ones, so that their differences are known from far fewer searches. What finds more best moves
of a stronger engine need not win more games: a match has the last word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import chess
import numpy as np
from numpy.typing import NDArray

from dejavu.engine.match.batch import SearchingGame, SharedPlayer, play_together
from dejavu.engine.match.players import PlayerSettings
from dejavu.engine.search.evaluator import Evaluator
from dejavu.engine.search.lines import Info
from dejavu.engine.search.search import Search
from dejavu.engine.uci.loader import EvaluatorFactory
from dejavu.model.evaluations import Evaluations, join

_EVALUATOR_OPTIONS = ("WeightsFile", "MemoryFile", "UseMemory", "MemoryReach", "Backend", "Threads")
"""Players who agree in these get the same answers from their evaluators, and share one."""


@dataclass(frozen=True)
class Problem:
    """A position and the moves to find, any of which counts, or else to avoid."""

    fen: str
    wanted: frozenset[str]
    """UCI notation; empty: any move that is not unwanted."""
    unwanted: frozenset[str] = frozenset()

    def is_solved_by(self, move: str) -> bool:
        """Whether a move in UCI notation is one to play."""
        return move not in self.unwanted and (not self.wanted or move in self.wanted)


class AnswerKeeper:
    """An evaluator that asks another about every position once, for players who search the same positions."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._known: dict[tuple[bytes, int], Evaluations] = {}

    @property
    def use_memory(self) -> bool:
        return self._evaluator.use_memory

    @use_memory.setter
    def use_memory(self, value: bool) -> None:
        self._evaluator.use_memory = value

    @property
    def memory_reach(self) -> float:
        return self._evaluator.memory_reach

    @memory_reach.setter
    def memory_reach(self, value: float) -> None:
        self._evaluator.memory_reach = value

    def __len__(self) -> int:
        """How many answers are kept."""
        return len(self._known)

    def evaluate(self, planes: NDArray[np.uint64], clocks: NDArray[np.uint8]) -> Evaluations:
        """Evaluate packed positions: planes [B, 4], clock bytes [B]."""
        keys = [(row.tobytes(), clock) for row, clock in zip(planes, clocks.tolist(), strict=True)]
        new = [place for place, key in enumerate(keys) if key not in self._known]
        if new:
            answers = self._evaluator.evaluate(planes[new], clocks[new])
            for number, place in enumerate(new):
                self._known[keys[place]] = _single(answers, number)
        return join([self._known[key] for key in keys])

    def forget(self) -> None:
        """Ask about every position again."""
        self._known.clear()

    def describe(self) -> str:
        return self._evaluator.describe()


def _single(evaluations: Evaluations, place: int) -> Evaluations:
    start, end = evaluations.offsets[place : place + 2]
    return Evaluations(
        offsets=np.array([0, end - start]),
        moves=evaluations.moves[start:end].copy(),
        logits=evaluations.logits[start:end].copy(),
        mating=evaluations.mating[place : place + 1].copy(),
        wdl=evaluations.wdl[place : place + 1].copy(),
    )


class _Solving(SearchingGame):
    """One search of one position by one player."""

    def __init__(self, player: SharedPlayer, place: tuple[int, int], problem: Problem) -> None:
        super().__init__()
        self._player = player
        self.place = place
        """Of the problem and the player."""
        self.is_solved: bool | None = None
        self._problem = problem

    @property
    def player(self) -> SharedPlayer:
        return self._player

    def _start(self) -> Search | None:
        if self.is_solved is not None:
            return None
        session = self._player.session()
        session.set_position(self._problem.fen, [])
        return session.search(self._player.limits, _ignore)

    def _move(self, search: Search, reason: str) -> None:
        move = search.answer(reason).move
        self.is_solved = move is not None and self._problem.is_solved_by(move)


def _ignore(info: Info) -> None:
    pass


def solve(
    problems: Sequence[Problem],
    settings: Sequence[PlayerSettings],
    at_once: int,
    say: Callable[[str], None],
    load: EvaluatorFactory,
) -> Iterator[NDArray[np.bool_]]:
    """Rows of bundles of problems [at most `at_once`, players], in order: which player has solved which.

    Raises PlayerError, before anything is searched, for a player that cannot play so.
    """
    keepers: dict[tuple[str | None, ...], AnswerKeeper] = {}

    def player_of(player: PlayerSettings) -> SharedPlayer:
        key = tuple(player.options.get(option) for option in _EVALUATOR_OPTIONS)

        def shared(*files: object) -> Evaluator:
            if key not in keepers:
                keepers[key] = AnswerKeeper(load(*files))  # type: ignore[arg-type]
            return keepers[key]

        return SharedPlayer(player, say, shared)

    return _solve(problems, [player_of(player) for player in settings], list(keepers.values()), at_once)


def _solve(
    problems: Sequence[Problem], players: Sequence[SharedPlayer], keepers: Sequence[AnswerKeeper], at_once: int
) -> Iterator[NDArray[np.bool_]]:
    for start in range(0, len(problems), at_once):
        bundle = problems[start : start + at_once]
        solved = np.zeros((len(bundle), len(players)), dtype=np.bool_)
        searches = (
            _Solving(player, (row, column), problem)
            for row, problem in enumerate(bundle)
            for column, player in enumerate(players)
        )
        for search in play_together(searches, at_once * len(players)):
            solved[search.place] = bool(search.is_solved)
        for keeper in keepers:
            keeper.forget()
        yield solved


@dataclass(frozen=True)
class Share:
    """A share of solved problems, or a difference of two, with its standard error."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Share:
        """The mean of values [B] of independent problems."""
        return cls(float(values.mean()), float(values.std()) / math.sqrt(max(1, len(values) - 1)))

    def __str__(self) -> str:
        return f"{100 * self.mean:.2f} +- {100 * self.error:.2f} %"


def legal_problem(board: chess.Board, best: chess.Move) -> Problem:
    """The problem of finding one move."""
    return Problem(board.fen(), frozenset([best.uci()]))
