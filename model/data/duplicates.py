"""Positions that occur more than once in a data set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Any odd numbers do: they only sort out most of what cannot be equal.
_MULTIPLIERS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5], dtype=np.uint64
)


def occurs_in(planes: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """[B] whether each of the packed positions [B, 4] is also among the others [N, 4]; exact."""
    # Numbers sort many times faster than rows of bytes, so the bytes decide among few.
    alike = others[np.isin(others @ _MULTIPLIERS, planes @ _MULTIPLIERS)]
    return np.isin(_as_bytes(planes), _as_bytes(alike))


def _as_bytes(planes: NDArray[np.uint64]) -> NDArray[np.void]:
    """[B] each row as one value of 32 bytes."""
    return np.ascontiguousarray(planes).view(f"V{planes.itemsize * planes.shape[1]}").ravel()
