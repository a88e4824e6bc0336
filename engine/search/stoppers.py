"""Reasons to stop a search: small, independent, asked once a minibatch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from dejavu.engine.search.clock import Budget


@dataclass
class SearchState:
    """How far a search has come; refreshed before each minibatch. Times are seconds."""

    nodes: int = 0
    """Visits of the root, those of a reused tree included."""
    playouts: int = 0
    """Visits this search has made."""
    elapsed: float = 0.0
    """Since the clock started: since `ponderhit` if the search began as a ponder search."""
    searching: float = 0.0
    """Since the search started."""
    pondering: bool = False
    depth: float = 0.0
    """Mean depth of this search's visits."""
    batch_seconds: float = 0.0
    """How long an answer may be delayed by minibatches, from the slowest of the latest ones."""
    proven: bool = False
    """The root's result is proven, and so are the lines asked for."""
    mate_in: int | None = None
    """Moves to the proven mate: positive if the side to move mates, negative if it is mated."""
    best_visits: int = 0
    second_visits: int = 0
    open_moves: int = 2
    """Root moves that are not proven to lose; before a search knows of any, more than one."""
    best_has_best_value: bool = True
    """The most visited root move is also the one with the highest Q."""


class Stopper(Protocol):
    """One reason to stop."""

    def reason(self, progress: SearchState) -> str | None:
        """Why the search should stop now, in a few words; None to go on."""


@dataclass(frozen=True)
class NodesStopper:
    """Stops after `limit` nodes."""

    limit: int

    def reason(self, progress: SearchState) -> str | None:
        return "nodes" if progress.nodes >= self.limit else None


@dataclass(frozen=True)
class DepthStopper:
    """Stops when the mean depth has reached `limit` plies."""

    limit: int

    def reason(self, progress: SearchState) -> str | None:
        return "depth" if progress.depth >= self.limit else None


@dataclass(frozen=True)
class MateStopper:
    """Stops when the side to move is proven to mate in at most `moves`; `ProvenStopper` sees that it is mated."""

    moves: int

    def reason(self, progress: SearchState) -> str | None:
        found = progress.mate_in is not None and 0 < progress.mate_in <= self.moves
        return "mate" if found else None


@dataclass(frozen=True)
class ProvenStopper:
    """Stops when the root's result and the lines asked for are proven: more search cannot change them."""

    def reason(self, progress: SearchState) -> str | None:
        return "proven" if progress.proven else None


@dataclass(frozen=True)
class TimeStopper:
    """Stops at the soft limit, or, while visits and values disagree on the best move, at the hard one.

    The next minibatch must fit, too: a batch cannot be interrupted.
    """

    budget: Budget

    def reason(self, progress: SearchState) -> str | None:
        if progress.pondering:
            return None
        if progress.elapsed + progress.batch_seconds > self.budget.hard:
            return "time"
        decided = progress.best_has_best_value
        return "time" if decided and progress.elapsed >= self.budget.soft else None


@dataclass(frozen=True)
class SmartPruningStopper:
    """Stops when no move can overtake the best in the time that is left (lc0's smart pruning), or all others lose.

    `factor` divides the visits that are still to come: 1 is exact, more gives up on unlikely changes.
    """

    budget: Budget
    factor: float

    MINIMUM_SECONDS = 0.1
    MINIMUM_PLAYOUTS = 100
    """Before both, neither the speed nor the moves are known well enough."""

    def reason(self, progress: SearchState) -> str | None:
        if progress.pondering or progress.searching < self.MINIMUM_SECONDS:
            return None
        if progress.playouts < self.MINIMUM_PLAYOUTS:
            return None
        if progress.open_moves <= 1:
            return "decided"
        speed = progress.playouts / progress.searching
        to_come = speed * max(self.budget.soft - progress.elapsed, 0.0)
        lead = progress.best_visits - progress.second_visits
        return "decided" if lead > to_come / self.factor else None


def first_reason(stoppers: Sequence[Stopper], progress: SearchState) -> str | None:
    """The first of the stoppers' reasons, or None."""
    for stopper in stoppers:
        reason = stopper.reason(progress)
        if reason is not None:
            return reason
    return None
