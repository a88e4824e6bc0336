"""Moves that mate at once, for whole batches of positions: what the rules tell without a search.

A leaf where the mover mates is a won position, whatever the network thinks of it; knowing so lets the search prove
mates a ply deeper than it has looked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dejavu.model.chess import kernels
from dejavu.model.chess.attacks import Attacks, LegalMoves, Planes, for_kernels


def mating_moves(planes: Planes, sets: Attacks, legal: LegalMoves) -> NDArray[np.uint16]:
    """[B] policy index of a move that mates at once, or NO_MOVE.

    planes [B, 4], their attacks, and their legal moves. Where a pawn mates by promoting, it becomes a queen or a
    knight: a rook or a bishop mates only where a queen does.
    """
    mating: NDArray[np.uint16] = kernels.mating_moves(for_kernels(planes), sets.codes, *legal)
    return mating
