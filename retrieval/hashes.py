"""One number for a row of numbers, to find equal rows by: whoever needs to be certain compares the rows as well."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dejavu.retrieval.memory import Memory

_FACTORS = np.array(
    [
        *(0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93),
        *(0xA0761D6478BD642F, 0xE7037ED1A0B428DB, 0x8EBC6AF09C88C6E3),
    ],
    np.uint64,
)
"""Odd and without a pattern: what each number of a row counts in its hash."""


def board_hashes(boards: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """[B] of packed positions [B, 4], whatever their clocks."""
    return _hashes(np.ascontiguousarray(boards, np.uint64))


def entry_hashes(memory: Memory) -> NDArray[np.uint64]:
    """[n] of all that the network reads of an entry: board, clock, continuation, evaluation."""
    continuations = np.ascontiguousarray(memory.continuations).view(np.uint64)  # [n, 2]
    rest = np.concatenate([memory.clocks[:, None], memory.wdl], axis=1)
    numbers = np.ascontiguousarray(rest).view(np.uint32).astype(np.uint64)  # [n, 1]
    return _hashes(np.concatenate([memory.boards, continuations, numbers], axis=1))


def _hashes(rows: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """[N] of rows [N, w]."""
    return np.asarray((rows * _FACTORS[: rows.shape[1]]).sum(axis=1, dtype=np.uint64))
