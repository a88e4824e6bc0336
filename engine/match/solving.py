"""Positions with a known best move, searched by several players at once: settings compared without games.

A game says won or lost after a hundred moves; a position with a known move says right or wrong at once, and all
players face the same ones, so that their differences are known from far fewer searches. What finds more best moves
of a stronger engine need not win more games: a match has the last word.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import chess.engine
import numpy as np
from numpy.typing import NDArray

from dejavu.engine.loader import EvaluatorFactory, Wanted, load_network, wanted
from dejavu.engine.match.batch import SearchingGame, SharedPlayer, config_of, play_together
from dejavu.engine.match.external import ExternalEngine
from dejavu.engine.match.players import FailureError, PlayerSettings
from dejavu.engine.match.suites import Problem, Solution, SuiteError, score_text
from dejavu.engine.search.evaluator import Evaluator
from dejavu.engine.search.lines import Info
from dejavu.engine.search.search import Search
from dejavu.model.evaluations import Evaluations, join
from dejavu.retrieval.memory import Memory

MOVE_SECONDS = 300.0
"""How long an engine may take over one position, beyond its time to think."""


class AnswerKeeper:
    """An evaluator that asks another about every position once, for players who search the same positions."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._known: dict[tuple[bytes, int, bool], Evaluations] = {}

    @property
    def memory_reach(self) -> float:
        return self._evaluator.memory_reach

    @memory_reach.setter
    def memory_reach(self, value: float) -> None:
        self._evaluator.memory_reach = value

    def __getattr__(self, name: str) -> Any:
        """What else the evaluator has: that it asks several memories (`Extensible`), if it does."""
        return getattr(self._evaluator, name)

    def put_beside(self, memories: Sequence[Memory]) -> None:
        """See `Extensible.put_beside`; the answers so far were given without them."""
        self.forget()
        self._evaluator.put_beside(memories)  # type: ignore[attr-defined]

    def __len__(self) -> int:
        """How many answers are kept."""
        return len(self._known)

    def evaluate(self, planes: NDArray[np.uint64], clocks: NDArray[np.uint8], memory: bool = True) -> Evaluations:
        """See `Evaluator.evaluate`."""
        keys = [(row.tobytes(), clock, memory) for row, clock in zip(planes, clocks.tolist(), strict=True)]
        new = [index for index, key in enumerate(keys) if key not in self._known]
        if new:
            answers = self._evaluator.evaluate(planes[new], clocks[new], memory)
            for number, index in enumerate(new):
                self._known[keys[index]] = _single(answers, number)
        return join([self._known[key] for key in keys])

    def forget(self) -> None:
        """Ask about every position again."""
        self._known.clear()

    def describe(self) -> str:
        return self._evaluator.describe()


def _single(evaluations: Evaluations, index: int) -> Evaluations:
    start, end = evaluations.offsets[index : index + 2]
    return Evaluations(
        offsets=np.array([0, end - start]),
        moves=evaluations.moves[start:end].copy(),
        logits=evaluations.logits[start:end].copy(),
        mating=evaluations.mating[index : index + 1].copy(),
        wdl=evaluations.wdl[index : index + 1].copy(),
    )


class _Solving(SearchingGame):
    """One search of one position by one player."""

    def __init__(self, player: SharedPlayer, cell: tuple[int, int], problem: Problem) -> None:
        super().__init__()
        self._player = player
        self.cell = cell
        """Row (the problem) and column (the player) of the table."""
        self.solution: Solution | None = None
        self._problem = problem
        self._info: Info | None = None

    @property
    def player(self) -> SharedPlayer:
        return self._player

    def _start(self) -> Search | None:
        if self.solution is not None:
            return None
        session = self._player.session()
        session.set_position(self._problem.board.fen(), [])
        return session.search(self._player.limits, self._report)

    def _report(self, info: Info) -> None:
        self._info = info

    def _move(self, search: Search, reason: str) -> None:
        found, info = search.answer(reason).move, self._info
        move = None if found is None else self._problem.board.parse_uci(found)
        score = None
        if info is not None:
            line = info.lines[0]
            score = chess.engine.Mate(line.mate) if line.mate is not None else chess.engine.Cp(line.score)
        self.solution = Solution(self._problem, move, 0 if info is None else info.nodes, score_text(score))


def solve_by_engines(
    problems: Sequence[Problem], settings: Sequence[PlayerSettings], say: Callable[[str], None]
) -> Iterator[list[Solution]]:
    """Each problem put to every engine, in processes of their own, as a game of its own.

    Raises SuiteError for an engine that does not start, or fails.
    """
    with contextlib.ExitStack() as stack:
        engines = [stack.enter_context(ExternalEngine(player, MOVE_SECONDS, say)) for player in settings]
        for engine in engines:
            engine.start()
        for problem in problems:
            row = []
            for engine in engines:
                try:
                    found = engine.play(problem.board)
                except FailureError as error:
                    raise SuiteError(f"{engine.settings.name} failed at {problem.name}: {error}") from error
                row.append(Solution(problem, found.move, found.nodes or 0, score_text(found.score)))
            yield row


def solve_batched(
    problems: Sequence[Problem],
    settings: Sequence[PlayerSettings],
    at_once: int,
    say: Callable[[str], None],
    load: EvaluatorFactory = load_network,
) -> Iterator[list[Solution]]:
    """Each problem put to every player, all of which are this Dejavu, here, `at_once` problems at a time.

    Players who agree in what decides the answers of their evaluators share them. Raises PlayerError, before anything is
    searched, for a player that cannot play so.
    """
    keepers: dict[tuple[Wanted, int, str], AnswerKeeper] = {}

    def player_of(player: PlayerSettings) -> SharedPlayer:
        config = config_of(player)
        key = wanted(config), config.memory_reach, config.learn

        def shared(files: Wanted) -> Evaluator:
            if key not in keepers:
                keepers[key] = AnswerKeeper(load(files))
            return keepers[key]

        return SharedPlayer(player, say, shared)

    return _solve(problems, [player_of(player) for player in settings], list(keepers.values()), at_once)


def _solve(
    problems: Sequence[Problem], players: Sequence[SharedPlayer], keepers: Sequence[AnswerKeeper], at_once: int
) -> Iterator[list[Solution]]:
    for start in range(0, len(problems), at_once):
        bundle = problems[start : start + at_once]
        found: dict[tuple[int, int], Solution] = {}
        searches = (
            _Solving(player, (row, column), problem)
            for row, problem in enumerate(bundle)
            for column, player in enumerate(players)
        )
        for search in play_together(searches, at_once * len(players)):
            assert search.solution is not None
            found[search.cell] = search.solution
        for keeper in keepers:
            keeper.forget()
        for row in range(len(bundle)):
            yield [found[row, column] for column in range(len(players))]
