"""How long to think: from the clocks to a soft and a hard limit for this move."""

from __future__ import annotations

from dataclasses import dataclass

from dejavu.engine.search.limits import Limits

MOVES_LEFT = 18
"""Each move may take this part of what is left; moves that are decided early leave some of it to later ones."""

INCREMENT_SHARE = 0.75
"""Part of the increment that is spent at once; the rest refills the clock."""

HARD_FACTOR = 3.0
"""A move that proves difficult may take this many times its soft limit ..."""

HARD_SHARE = 0.4
"""... but never more than this part of the clock, unless it is the last move before the time control."""

LAST_MOVE_SHARE = 0.8
"""Part of the clock the last move before a time control may take; the margin is for a busy machine."""

FORCED_SECONDS = 0.1
"""On a clock, time for a position with one legal move: enough to have a line to ponder on."""


@dataclass(frozen=True)
class Budget:
    """Seconds for this move. Past `soft` it stops unless undecided; past `hard` it stops whatever happens."""

    soft: float
    hard: float
    on_clock: bool
    """True if unspent time stays on our clock, so that stopping early is worth something."""


class BatchPace:
    """How long minibatches take on this machine just now: the slowest of the latest ones."""

    FORGETTING = 0.8
    """Weight of the past at each new measurement: a slow batch counts by half after three more."""
    LEAST_SHARE = 1 / 8
    """A batch that is far smaller than the largest makes the past fade by this part of a measurement."""
    UNSEARCHED = 0.5
    """Weight of the past after a search that had no time for a batch: one that was held up must not end all others."""

    def __init__(self) -> None:
        self._seconds = 0.0
        """What `_size` leaves take."""
        self._size = 1
        """Leaves of the largest batch so far. What small ones take says little of large ones."""

    def measured(self, size: int, seconds: float) -> None:
        """A minibatch of `size` leaves took so long, tree and network together."""
        share = min(max(size / self._size, self.LEAST_SHARE), 1.0)
        self._seconds = max(seconds, self._seconds * self.FORGETTING**share)
        self._size = max(size, self._size)

    def unsearched(self) -> None:
        """A search had no time for its first minibatch."""
        self._seconds *= self.UNSEARCHED

    def expected(self, size: int) -> float:
        """Seconds the clock must allow for `size` leaves; half of a batch's time does not depend on its size."""
        return self._seconds * (1 + size / self._size) / 2


def budget(limits: Limits, white_to_move: bool, overhead: int, only_move: bool) -> Budget | None:
    """Seconds this move may take, or None if time does not limit it.

    `overhead` is milliseconds lost between GUI and engine each move. `only_move` says that there is one legal
    move. A clock that is missing while the other side's is given (fastchess sends such) means no time of our
    own to lose: the search is then limited as if we had the opponent's clock.
    """
    if limits.movetime is not None:
        seconds = max(limits.movetime - overhead, 0) / 1000
        # A move time below the overhead would leave nothing: half of it keeps some thought and some margin.
        seconds = max(seconds, max(limits.movetime, 0) / 2000)
        return Budget(seconds, seconds, on_clock=False)
    own, other = (limits.wtime, limits.btime) if white_to_move else (limits.btime, limits.wtime)
    remaining = own if own is not None else other
    if remaining is None:
        return None
    increment = max(limits.winc if white_to_move else limits.binc, 0) / 1000
    left = max(remaining - overhead, 0) / 1000
    moves = MOVES_LEFT
    if limits.movestogo is not None and limits.movestogo > 0:
        moves = min(limits.movestogo, MOVES_LEFT)
    share = LAST_MOVE_SHARE if moves == 1 else max(HARD_SHARE, LAST_MOVE_SHARE / moves)
    hard_cap = left * share
    # The increment is added only after the move, so it never lifts the cap.
    soft = min(left / moves + INCREMENT_SHARE * increment, hard_cap)
    hard = min(soft * HARD_FACTOR, hard_cap)
    if only_move:
        soft = hard = min(soft, FORCED_SECONDS)
    return Budget(soft, hard, on_clock=True)
