"""What a search is asked to do, and how it is told to end."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import chess

from dejavu.engine.search.noise import RootNoise
from dejavu.engine.search.proofs import Proofs
from dejavu.engine.search.stoppers import Stopper
from dejavu.engine.search.temperature import RandomChoice
from dejavu.engine.search.tree import Tree
from dejavu.model.chess.encoding import Packed


@dataclass
class Signals:
    """How the input thread speaks to the search."""

    started: float = field(default_factory=time.perf_counter)
    """When the clock began to run (time.perf_counter)."""
    stop: threading.Event = field(default_factory=threading.Event)
    pondering: bool = False
    wake: threading.Event = field(default_factory=threading.Event)
    """Set together with anything a finished search may be waiting for."""

    def ponderhit(self) -> None:
        """The expected move was played: our clock runs from now on. Means nothing to a search that does not ponder."""
        if not self.pondering:
            return
        self.started = time.perf_counter()  # before `pondering`: whoever sees that it is over sees the new clock
        self.pondering = False
        self.wake.set()

    def abort(self) -> None:
        """Answer with the best move so far."""
        self.stop.set()
        self.wake.set()

    def must_wait(self, for_stop: bool) -> bool:
        """Whether UCI forbids an answer now; `for_stop` is `go infinite`."""
        return not self.stop.is_set() and (for_stop or self.pondering)

    def wait_until_answer_is_allowed(self, for_stop: bool) -> None:
        """Block until `stop`, or, after `go ponder`, until `ponderhit`."""
        while self.must_wait(for_stop):
            self.wake.wait()
            self.wake.clear()


@dataclass(frozen=True)
class Task:
    """One search: where, with what, and when to end."""

    tree: Tree
    root: int
    """Node to search. Not the tree's first node while pondering."""
    board: chess.Board
    """Position of the root."""
    history: Sequence[Packed]
    """Positions of the game before the root, the latest last, back to the last capture or pawn move."""
    root_moves: Sequence[chess.Move]
    """The moves to choose from: all legal ones, or those of `searchmoves` or of the tablebases."""
    node_limit: int | None
    tree_bytes: int
    """A tree that has grown so large is pruned."""
    stoppers: Sequence[Stopper]
    wait_for_stop: bool
    """`go infinite`: no answer before `stop`."""
    choice: RandomChoice | None = None
    """How the move is drawn; None plays the best."""
    noise: RootNoise | None = None
    """What is mixed into the priors of the root; None is nothing."""
    lines: int = 1
    """How many winning moves of the root end the search: more than one only in an analysis (MultiPV)."""
    proofs: Proofs = field(default_factory=dict)
    """What earlier searches have proven."""
