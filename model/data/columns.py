"""What is known of the positions of games: the columns that a game, a data set and its file have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_EVALUATION = 32767
MATE = 32000
"""A mate in n moves is stored as MATE - n, being mated in n as n - MATE."""
NO_RESULT = 2


@dataclass(frozen=True)
class Columns:
    """N positions in playing order."""

    planes: NDArray[np.uint64]
    """[N, 4] packed positions."""
    clocks: NDArray[np.uint8]
    """[N] clock bytes."""
    best: NDArray[np.uint16]
    """[N] policy index of the best move known: the better move beside the played one, or the played one."""
    played: NDArray[np.uint16]
    """[N] policy index of the move played."""
    centipawns: NDArray[np.int16]
    """[N] evaluation from the side to move; mates near +-MATE; NO_EVALUATION."""
    result: NDArray[np.int8]
    """[N] 1, 0, -1: won, drawn, lost by the side to move in the end; NO_RESULT."""

    def __len__(self) -> int:
        return len(self.planes)


def join_columns(parts: Sequence[Columns]) -> dict[str, NDArray[Any]]:
    """The columns of several parts, one after the other."""
    names = [field.name for field in fields(Columns)]
    return {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
