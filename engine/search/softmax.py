"""The policy of many positions at once, compiled to machine code."""

from __future__ import annotations

import math

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
        start, end = offsets[b], offsets[b + 1]
        for i in range(start, end):  # insertion sort: there are few, and numba takes seconds to compile numpy's
            at = i
            while at > start and shares[at - 1] < logits[i]:
                shares[at], ordered[at] = shares[at - 1], ordered[at - 1]
                at -= 1
            shares[at], ordered[at] = logits[i], moves[i]
        total, highest = 0.0, shares[start] if end > start else 0.0
        for i in range(start, end):
            shares[i] = math.exp((shares[i] - highest) / temperature)
            total += shares[i]
        for i in range(start, end):
            shares[i] /= total
    return ordered, shares
