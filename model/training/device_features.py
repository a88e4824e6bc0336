"""Input features of packed positions by torch, for training data that lies on a GPU: what chess.features computes.

Planes are [B, 4] int64, of the same bits as elsewhere. The results equal those of numpy to the last bit.
"""

from __future__ import annotations

import chess
import numpy as np
import torch
from torch import Tensor

from dejavu.model.backbone import Inputs
from dejavu.model.chess.attacks import attacks, to_squares
from dejavu.model.chess.encoding import MAX_HALFMOVE_CLOCK, REPEATED
from dejavu.model.chess.kernels import PIECES

_CASTLING_ROOK, _OPPOSING_CASTLING_ROOK, _EN_PASSANT = 7, 15, 8
_OWN_KING = 6


def piece_codes(planes: Tensor) -> Tensor:
    """Planes [B, 4] -> the 4-bit code of every square, [B, 64] int64."""
    bits = (planes[:, :, None] >> torch.arange(64, device=planes.device)) & 1
    return bits[:, 0] + 2 * bits[:, 1] + 4 * bits[:, 2] + 8 * bits[:, 3]


def mirror(planes: Tensor) -> Tensor:
    """Planes [B, 4] with the a-file where the h-file was. Not for positions with castling rights."""
    # Every byte is a rank: swap neighbouring bits, pairs, halves.
    for shift, mask in ((1, 0x5555555555555555), (2, 0x3333333333333333), (4, 0x0F0F0F0F0F0F0F0F)):
        planes = ((planes >> shift) & mask) | ((planes & mask) << shift)
    return planes


def has_castling(planes: Tensor) -> Tensor:
    """[B] bool: whether either side may still castle."""
    return planes[:, 0] & planes[:, 1] & planes[:, 2] != 0


class DeviceFeatures:
    """Computes features on one device, where its tables lie."""

    def __init__(self, device: torch.device) -> None:
        between = [[chess.between(a, b) for b in range(64)] for a in range(64)]
        self._between = torch.from_numpy(np.array(between, np.uint64).view(np.int64)).to(device)
        self._reached = torch.from_numpy(_reached()).to(device)
        self._squares = torch.arange(64, device=device)
        self._pieces = torch.tensor(PIECES, device=device)
        self._plain = torch.arange(16, device=device)
        """A rook with castling right counts as a rook too."""
        self._plain[_CASTLING_ROOK], self._plain[_OPPOSING_CASTLING_ROOK] = 4, 12

    def __call__(self, planes: Tensor, clocks: Tensor) -> Inputs:
        """Features of positions: planes [B, 4] and clock bytes [B] uint8."""
        codes = piece_codes(planes)
        occupied = planes[:, 0] | planes[:, 1] | planes[:, 2]
        open_lines = (self._between & occupied[:, None, None]) == 0
        attacking = self._reached[codes, self._squares] & open_lines  # [B, from, to]
        stands = self._plain[codes][:, None, :] == self._pieces[:, None]  # [B, 12, 64]
        own, opponent = (codes > 0) & (codes < 8), codes > 8
        # Sums of up to 16 ones, which bfloat16 holds exactly.
        counts = torch.cat([stands, own[:, None], opponent[:, None]], dim=1).bfloat16() @ attacking.bfloat16()
        king = (codes == _OWN_KING).int().argmax(dim=1)
        on_king = attacking.gather(2, king[:, None, None].expand(-1, 64, 1)).squeeze(2)
        special = [codes == code for code in (_CASTLING_ROOK, _OPPOSING_CASTLING_ROOK, _EN_PASSANT)]
        squares = torch.cat(
            [
                stands,
                torch.stack(special, dim=1),
                counts[:, : len(PIECES)] > 0,
                (opponent & on_king)[:, None],
                counts[:, len(PIECES) :],
            ],
            dim=1,
        )
        clock = torch.stack([(clocks & (REPEATED - 1)).float() / MAX_HALFMOVE_CLOCK, (clocks >= REPEATED).float()], 1)
        return Inputs(squares.to(torch.uint8), clock, attacking.to(torch.uint8))


def _reached() -> np.ndarray:
    """[16, 64, 64] bool: whether a piece, by its code, on one square attacks another where nothing stands between."""
    code, square = np.divmod(np.arange(16 * 64, dtype=np.uint64), np.uint64(64))
    planes = (code[:, None] >> np.arange(4, dtype=np.uint64) & np.uint64(1)) << square[:, None]
    alone = attacks(planes).by_square[np.arange(16 * 64), square.astype(np.intp)]
    return to_squares(alone).astype(bool).reshape(16, 64, 64)
