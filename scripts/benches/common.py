"""What the benches share: a stopwatch, and positions that no cache has seen."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import chess
import numpy as np
from numpy.typing import NDArray

from dejavu.model.chess.encoding import Packed, clock_byte, pack, stack

REPEATS = 5


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds that `action` takes, and its result."""
    start = time.perf_counter()
    result = action()
    return (time.perf_counter() - start) * 1e3, result


def random_positions(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Packed positions and clock bytes of random games: every one new, so that no cache helps."""
    rng = random.Random(0)
    packed: list[Packed] = []
    clocks: list[int] = []
    board = chess.Board()
    while len(packed) < count:
        board.push(rng.choice(list(board.legal_moves)))
        if board.is_game_over():
            board.reset()
        packed.append(pack(board))
        clocks.append(clock_byte(board.halfmove_clock, repeated=False))
    return stack(packed), np.array(clocks, dtype=np.uint8)
