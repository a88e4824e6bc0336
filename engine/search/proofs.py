"""Wins and losses that earlier searches have proven: what they say of positions and of moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dejavu.model.chess.encoding import Packed


class Proof(NamedTuple):
    """A position that is won or lost, unless it is a draw by repetition or by the fifty-move rule."""

    wins: bool
    """The side to move wins; else it loses."""
    plies: int | None
    """To mate; None if nobody knows."""
    line: tuple[int, ...]
    """Policy indices of the best line, at least one."""
    clock: int
    """The half-move clock it was proven with."""

    def holds(self, clock: int) -> bool:
        """Whether the fifty-move rule leaves it as it is, with another half-move clock."""
        return clock <= self.clock or (self.plies is not None and clock + self.plies <= 100)


Proofs = Mapping[Packed, Proof]
