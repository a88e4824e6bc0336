"""How good an answer of the network is, position by position, and what phase of a game a position belongs to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dejavu.model.evaluations import Evaluations

MEASURES = ("policy_loss", "value_loss", "top1", "top3")
"""Losses in nats, the value's less the entropy of its target; whether the best move is first, or among the first 3."""

PHASES = ("opening", "middlegame", "endgame")
_OPENING_FROM, _ENDGAME_TO = 21, 8
"""Pieces left, of 24 at the start: a knight or bishop counts 1, a rook 2, a queen 4 (as in tapered evaluations)."""


def measure(answer: Evaluations, best: NDArray[np.uint16], wdl: NDArray[np.float32]) -> NDArray[np.float64]:
    """[B, 4] MEASURES of an answer, given the best moves [B] and the targets of win, draw and loss [B, 3]."""
    rows = np.empty((len(best), len(MEASURES)))
    for b in range(len(best)):
        part = slice(answer.offsets[b], answer.offsets[b + 1])
        logits = answer.logits[part].astype(np.float64)
        target = logits[answer.moves[part] == best[b]][0]
        better = int((logits > target).sum())
        rows[b, 0] = np.log(np.exp(logits - logits.max()).sum()) + logits.max() - target
        rows[b, 2:] = better < 1, better < 3
    known = np.maximum(wdl, 1e-12)
    rows[:, 1] = (wdl * (np.log(known) - np.log(np.maximum(answer.wdl, 1e-12)))).sum(axis=1)
    return rows


def phases(planes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """[B] index into PHASES of packed positions [B, 4], by the pieces left."""
    bit0, bit1, bit2 = planes.T[:3]
    minor = bit1 & ~bit2
    rooks = (bit2 & ~bit0 & ~bit1) | (bit0 & bit1 & bit2)
    queens = bit0 & bit2 & ~bit1
    left = _count(minor) + 2 * _count(rooks) + 4 * _count(queens)
    return np.where(left >= _OPENING_FROM, 0, np.where(left > _ENDGAME_TO, 1, 2))


def _count(boards: NDArray[np.uint64]) -> NDArray[np.int64]:
    """[B] bits that are set."""
    bits = np.unpackbits(np.ascontiguousarray(boards).view(np.uint8).reshape(-1, 8), axis=1)
    return np.asarray(bits.sum(axis=1, dtype=np.int64))
