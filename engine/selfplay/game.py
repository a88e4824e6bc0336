"""One game of the engine with itself."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import chess
import numpy as np

from dejavu.engine.match.batch import SearchingGame, SharedPlayer
from dejavu.engine.match.game import by_rule
from dejavu.engine.match.openings import Opening
from dejavu.engine.search.lines import Info
from dejavu.engine.search.search import Search
from dejavu.engine.selfplay.resignation import Resignation, gives_up
from dejavu.engine.selfplay.targets import Target, target
from dejavu.model.chess.encoding import Packed, clock_byte, move_to_index, pack, stack
from dejavu.model.data.columns import NO_EVALUATION
from dejavu.model.data.dataset import Searches
from dejavu.model.data.games import GamePositions

_WHITE_RESULT = {"1-0": 1, "0-1": -1, "1/2-1/2": 0}


@dataclass(frozen=True)
class Conditions:
    """How games begin and end."""

    random_plies: int = 8
    """At most so many random moves at the start; how many, is drawn for each game."""
    max_plies: int = 400
    """A game of so many plies is drawn."""
    resignation: Resignation | None = None
    openings: Sequence[Opening] = field(default=(), repr=False)
    """One is drawn for each game, before its random moves; the start where there are none."""


def random_opening(plies: int, generator: random.Random, openings: Sequence[Opening] = ()) -> chess.Board:
    """One of the `openings`, or the start, with up to `plies` random moves, after which the game is not over."""
    while True:
        board = generator.choice(openings).board() if openings else chess.Board()
        for _ in range(generator.randint(0, plies)):
            moves = list(board.legal_moves)
            if not moves:
                break
            board.push(generator.choice(moves))
        if by_rule(board) is None:
            return board


class SelfPlayGame(SearchingGame):
    """A game of one player against itself: both sides search the same tree."""

    def __init__(self, number: int, player: SharedPlayer, conditions: Conditions, seed: int) -> None:
        """`number` and `seed` decide everything that is random."""
        super().__init__()
        generator = random.Random(f"{seed}-{number}")
        self.number = number
        self.result: str | None = None
        """PGN's, once the game is over."""
        self.targets: list[Target] = []
        """Of each position that was searched: all but those of the opening."""
        self._player = player
        self._conditions = conditions
        self._board = random_opening(conditions.random_plies, generator, conditions.openings)
        self._fen = self._board.root().fen() if conditions.openings else None
        self._opening_plies = len(self._board.move_stack)
        rule = conditions.resignation
        self._resignation = None if rule is None or generator.random() < rule.played_on else rule
        self._session = player.session(generator)

    @property
    def player(self) -> SharedPlayer:
        return self._player

    def _start(self) -> Search | None:
        if self.result is None:
            verdict = by_rule(self._board)
            if verdict is not None:
                self.result = verdict.result
            elif len(self._board.move_stack) >= self._conditions.max_plies:
                self.result = "1/2-1/2"
        if self.result is not None:
            return None
        self._session.set_position(self._fen, [move.uci() for move in self._board.move_stack])
        return self._session.search(self._player.limits, _ignore)

    def _move(self, search: Search, reason: str) -> None:
        self.targets.append(target(search.tree, search.root, self._player.config.draw_score))
        best = search.answer(reason)
        assert best.move is not None
        values = [item.value for item in self.targets]
        if self._resignation is not None and gives_up(values, len(values) - 1, self._resignation):
            self.result = "0-1" if self._board.turn == chess.WHITE else "1-0"
        self._board.push_uci(best.move)

    def positions(self, name: str) -> GamePositions:
        """The searched positions with their targets, once the game is over."""
        assert self.result is not None
        winner = _WHITE_RESULT[self.result]
        board = self._board.root()
        seen: set[Packed] = set()
        packed: list[Packed] = []
        clocks, played, results = [], [], []
        for ply, move in enumerate(self._board.move_stack):
            position = pack(board)
            if ply >= self._opening_plies:
                packed.append(position)
                clocks.append(clock_byte(board.halfmove_clock, position in seen))
                played.append(move_to_index(move, board))
                results.append(winner if board.turn == chess.WHITE else -winner)
            seen.add(position)
            board.push(move)
        targets = self.targets
        return GamePositions(
            planes=stack(packed),
            clocks=np.array(clocks, np.uint8),
            best=np.array([item.best for item in targets], np.uint16),
            played=np.array(played, np.uint16),
            centipawns=np.full(len(packed), NO_EVALUATION, np.int16),
            result=np.array(results, np.int8),
            name=name,
            searches=Searches(
                rows=np.arange(len(packed)),
                wdl=np.array([item.wdl for item in targets], np.float32),
                offsets=np.cumsum([0, *(len(item.moves) for item in targets)]),
                moves=np.array([move for item in targets for move in item.moves], np.uint16),
                visits=np.array([count for item in targets for count in item.visits], np.uint32),
            ),
        )


def _ignore(info: Info) -> None:
    """Nobody reads the info lines of self-play."""
