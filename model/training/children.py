"""Positions after the best move, to learn the value of.

A search is led astray where the network does not see what the best move has won: after a sacrifice it counts the men.
Data that name the best move of a position, and how the position stands, say how it stands after that move as well. So
these positions cost no label; what to play there is not known.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dejavu.model.chess.encoding import clock_byte, index_to_move, mirror, pack, stack, unpack
from dejavu.model.data.dataset import Dataset
from dejavu.model.training.auxiliary import UNKNOWN
from dejavu.model.training.batches import Batch, batch_of, random_half


def make_children(dataset: Dataset, rows: NDArray[np.int64], seed: int) -> Batch:
    """The positions after the best moves of `rows` [B], a random half of those without castling rights mirrored.

    Where the best move ends the game, which needs no network, the position itself.
    """
    boards = [unpack(dataset.planes[row], int(dataset.clocks[row])) for row in rows]
    wdl = dataset.wdl_target(rows)
    for number, (board, best) in enumerate(zip(boards, dataset.best[rows], strict=True)):
        board.push(index_to_move(int(best), board))
        if any(board.legal_moves):
            wdl[number] = wdl[number, ::-1]
        else:
            board.pop()
    planes = stack([pack(board) for board in boards])
    clocks = np.array([clock_byte(board.halfmove_clock, repeated=False) for board in boards], np.uint8)
    bit0, bit1, bit2, _ = planes.T
    mirrored = random_half(rows, seed) & (bit0 & bit1 & bit2 == 0)
    planes[mirrored] = mirror(planes[mirrored])
    return batch_of(rows, planes, clocks, np.full(len(rows), UNKNOWN, np.int64), wdl)
