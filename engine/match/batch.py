"""Many games of Dejavu against Dejavu in one process: the searches of all games share one evaluator a player.

Each step, every search under way gathers its leaves, and the leaves of all searches of a player are evaluated together:
on few cores, or on a GPU, the cheapest way to the difference between two sets of options. Moves are limited by nodes;
nothing here can be late, crash or be silent on its own.
"""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import chess
import chess.engine
import numpy as np

from dejavu.engine.loader import EvaluatorFactory, load_network, wanted
from dejavu.engine.match.adjudication import Adjudicator
from dejavu.engine.match.game import Outcome, by_rule
from dejavu.engine.match.pace import Pace
from dejavu.engine.match.players import Answer, PlayerError, PlayerSettings
from dejavu.engine.match.record import PlayedGame, Record
from dejavu.engine.match.schedule import ScheduledGame
from dejavu.engine.match.tournament import Tournament
from dejavu.engine.options import Config, OptionError, set_option
from dejavu.engine.search.endings import Endings
from dejavu.engine.search.evaluator import EvaluationError, Expansion, Extensible, expansions
from dejavu.engine.search.limits import Limits
from dejavu.engine.search.lines import Info
from dejavu.engine.search.search import Leaf, Minibatch, Search
from dejavu.engine.uci.session import Session
from dejavu.model.chess.encoding import stack
from dejavu.retrieval.memory import Memory

FULL_BATCHES = {"MinibatchSize": "1", "Hash": "16"}
"""Options for many games at once: each search waits for one position at a time, as if it were alone; the batch is
filled by the other games."""


def config_of(settings: PlayerSettings) -> Config:
    """The options of a player that is this Dejavu. Raises PlayerError."""
    config = Config(learn="off")
    try:
        for option, value in settings.options.items():
            config = set_option(config, option, value)
    except OptionError as error:
        raise PlayerError(f"{settings.name}: {error}") from error
    return config


class SharedPlayer:
    """One player of all games: its options, and the evaluator of all its searches."""

    def __init__(self, settings: PlayerSettings, say: Callable[[str], None], load: EvaluatorFactory) -> None:
        """`say` gets what it complains of, once. Raises PlayerError for a player that cannot play so."""
        name, pace = settings.name, settings.pace
        self._name = name
        self._say = say
        self._said: set[str] = set()
        if settings.command:
            raise PlayerError(f"{name} has a command; games are batched between option sets of this Dejavu")
        if pace.nodes is None or pace != Pace(nodes=pace.nodes):
            raise PlayerError(f"{name} plays at {pace}; batched games need nodes and nothing else")
        self.limits = Limits(nodes=pace.nodes)
        self._endings = Endings()
        self.config = self._of_a_game = config_of(settings)
        files = wanted(self.config)
        try:
            self.evaluator = load(files)
            if files.beside and self.config.learn == "off" and isinstance(self.evaluator, Extensible):
                # Once for all games, whose sessions need then not open them.
                fingerprint = self.evaluator.fingerprint
                self.evaluator.put_beside([Memory.open(path, fingerprint) for path in files.beside])
                self._of_a_game = replace(self.config, memory_file=str(files.memory))
        except (ValueError, OSError) as error:
            raise PlayerError(f"{name}: {' '.join(str(error).split())}") from error

    def session(self, generator: random.Random | None = None) -> Session:
        """An engine for one game, with the `generator` of its random choices."""
        session = Session(lambda files: self.evaluator, self._complain, generator, self._endings)
        session.configure(self._of_a_game)
        return session

    def _complain(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(f"{self._name}: {text}")

    def evaluate(self, leaves: Sequence[Leaf]) -> list[Expansion]:
        """The evaluator's answers to leaves of any searches. Raises PlayerError if they cannot be used."""
        if not leaves:
            return []
        planes = stack([leaf.key for leaf in leaves])
        clocks = np.array([leaf.clock for leaf in leaves], np.uint8)
        try:
            answers = self.evaluator.evaluate(planes, clocks, self.config.use_memory)
            return expansions(answers, self.config.policy_temperature)
        except EvaluationError as error:
            raise PlayerError(f"{self._name}: {error}") from error


class SearchingGame(ABC):
    """A game whose searches are driven from outside."""

    def __init__(self) -> None:
        self._search: Search | None = None

    @property
    @abstractmethod
    def player(self) -> SharedPlayer:
        """Whose move it is."""

    @abstractmethod
    def _start(self) -> Search | None:
        """A search of the position on the board; None if the game is over."""

    @abstractmethod
    def _move(self, search: Search, reason: str) -> None:
        """Play what a search has found that ended for `reason`."""

    def advance(self) -> Minibatch | None:
        """Play on until the network is needed, and say for what; None once the game is over."""
        while True:
            search = self._search = self._search or self._start()
            if search is None:
                return None
            reason = search.reason_to_stop()
            if reason is not None:
                self._search = None
                self._move(search, reason)
                continue
            batch = search.gather()
            if batch.leaves:
                return batch
            search.settle(batch, [])

    def settle(self, batch: Minibatch, answers: Sequence[Expansion]) -> None:
        """Hand the search what it asked for."""
        assert self._search is not None
        self._search.settle(batch, answers)


G = TypeVar("G", bound=SearchingGame)


def play_together(games: Iterable[G], at_once: int) -> Iterator[G]:
    """Play `games`, so many at once, and give each as soon as it is over.

    Raises PlayerError for a player that cannot play any more.
    """
    waiting = iter(games)
    running = list(islice(waiting, at_once))
    while running:
        asked: list[tuple[G, Minibatch]] = []
        while running:
            game = running.pop()
            batch = game.advance()
            if batch is not None:
                asked.append((game, batch))
                continue
            yield game
            running += islice(waiting, 1)
        for player in dict.fromkeys(game.player for game, _ in asked):
            own = [(game, batch) for game, batch in asked if game.player is player]
            answers = iter(player.evaluate([leaf for _, batch in own for leaf in batch.leaves]))
            for game, batch in own:
                game.settle(batch, [next(answers) for _ in batch.leaves])
        running = [game for game, _ in reversed(asked)]


class RunningGame(SearchingGame):
    """One game of a match: its position, and the search of the side to move."""

    def __init__(self, tournament: Tournament, game: ScheduledGame, players: dict[str, SharedPlayer]) -> None:
        super().__init__()
        self.scheduled = game
        self.outcome = Outcome()
        self._board = game.opening.board()
        self._adjudicator = Adjudicator(tournament.rules)
        self._players = {chess.WHITE: players[game.white], chess.BLACK: players[game.black]}
        self._sessions = {colour: player.session() for colour, player in self._players.items()}
        self._began = 0.0
        self._info: Info | None = None

    @property
    def player(self) -> SharedPlayer:
        return self._players[self._board.turn]

    def _start(self) -> Search | None:
        if self.outcome.result != "*":
            return None
        verdict = by_rule(self._board)
        if verdict is not None:
            self.outcome.end(verdict, "normal")
            return None
        session = self._sessions[self._board.turn]
        session.set_position(self.scheduled.opening.fen, [move.uci() for move in self._board.move_stack])
        self._began = time.perf_counter()
        return session.search(self.player.limits, self._report)

    def _report(self, info: Info) -> None:
        self._info = info

    def _move(self, search: Search, reason: str) -> None:
        best = search.answer(reason)
        assert best.move is not None
        assert self._info is not None
        line = self._info.lines[0]
        score = chess.engine.Mate(line.mate) if line.mate is not None else chess.engine.Cp(line.score)
        move = self._board.parse_uci(best.move)
        seconds = time.perf_counter() - self._began
        self.outcome.answers.append(Answer(move, seconds, score, self._info.depth, self._info.nodes))
        self._board.push(move)
        if by_rule(self._board) is None and (verdict := self._adjudicator.after(self._board, score)) is not None:
            self.outcome.end(verdict, "adjudication")


def run_batched(
    tournament: Tournament,
    record: Record,
    finished: Callable[[PlayedGame], None],
    say: Callable[[str], None],
    load: EvaluatorFactory = load_network,
) -> None:
    """Play the missing games, `tournament.concurrency` at a time, and tell `finished` of each once it is recorded.

    `say` gets what the players complain of. Raises PlayerError for a player that cannot play so, or not any more.
    """
    players = {name: SharedPlayer(settings, say, load) for name, settings in tournament.players.items()}
    if tournament.accepted(record) is not None:
        return
    games = (RunningGame(tournament, game, players) for game in tournament.missing(record))
    for game in play_together(games, tournament.concurrency):
        finished(record.add(tournament.pgn(game.scheduled, game.outcome)))
        if tournament.accepted(record) is not None:
            return
