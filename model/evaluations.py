"""What the network says of a batch of positions, as plain arrays the search can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Evaluations:
    """Network outputs for B positions; the legal moves of all of them lie end to end (M in all)."""

    offsets: NDArray[np.int64]
    """[B + 1]: the moves of position b are entries offsets[b] to offsets[b + 1]; none if the game is over."""
    moves: NDArray[np.uint16]
    """[M] every legal move as a policy index (see `encoding.index_to_move`), in ascending index order."""
    logits: NDArray[np.float32]
    """[M] policy logits of those moves, before any softmax or temperature."""
    mating: NDArray[np.uint16]
    """[B] a legal move that mates at once, NO_MOVE where none is seen."""
    wdl: NDArray[np.float32]
    """[B, 3] probabilities of win, draw, loss from the side to move."""


def join(parts: Sequence[Evaluations]) -> Evaluations:
    """The evaluations of several batches as those of one."""
    counts = [np.diff(part.offsets) for part in parts]
    return Evaluations(
        offsets=np.cumsum(np.concatenate([[0], *counts]), dtype=np.int64),
        moves=np.concatenate([part.moves for part in parts]),
        logits=np.concatenate([part.logits for part in parts]),
        mating=np.concatenate([part.mating for part in parts]),
        wdl=np.concatenate([part.wdl for part in parts]),
    )
