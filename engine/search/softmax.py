"""The policy of many positions at once, compiled to machine code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dejavu.model.jit import compiled


@compiled("Tuple((uint16[::1], float32[::1]))(int64[::1], uint16[::1], float32[::1], float64)")
def ordered_by_softmax(
    offsets: NDArray[np.int64], moves: NDArray[np.uint16], logits: NDArray[np.float32], temperature: float
) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Softmax of logits [M] / temperature over the moves of each position, which begin at `offsets` [B + 1].

    Returns the moves [M] and their shares [M], position by position, the largest share first.
    """
    ordered, shares = np.empty_like(moves), np.empty_like(logits)
    for b in range(len(offsets) - 1):
        own = slice(offsets[b], offsets[b + 1])
        if own.start == own.stop:
            continue
        weights = np.exp((logits[own] - logits[own].max()) / temperature)
        order = np.argsort(-weights, kind="mergesort")  # of moves alike the first comes first
        ordered[own], shares[own] = moves[own][order], (weights / weights.sum())[order]
    return ordered, shares
