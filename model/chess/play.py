"""Packed positions after a move: what the search makes its nodes of."""

from __future__ import annotations

from typing import NamedTuple

from dejavu.model.chess import kernels
from dejavu.model.chess.encoding import PLANES, Packed


class Played(NamedTuple):
    """A position after a move."""

    packed: Packed
    """Seen by the side to move now."""
    starts_clock: bool
    """Whether the move was a pawn's or a capture, after which the half-move clock is 0."""


def play(packed: Packed, move: int) -> Played:
    """`packed` after a legal move of it (policy index)."""
    bit0, bit1, bit2, bit3 = PLANES.unpack(packed)
    *planes, starts_clock = kernels.play(bit0, bit1, bit2, bit3, move)
    return Played(PLANES.pack(*planes), starts_clock)
