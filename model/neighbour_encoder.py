"""The neighbour encoder: a record of the memory -> r tokens that chunked cross-attention can read.

A record is where it was and what came next: the board, up to T plies played from there, the evaluation.
Its tokens are 8 ranks of the board, T plies and one evaluation. The encoder sees nothing of the position that
asks, so the encoding of a record can be kept and used again.

N records, r = 8 + T + 1 tokens, c neighbour width, F features a square.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dejavu.model.backbone import BoardEmbedding, Layer
from dejavu.model.chess.encoding import UNDERPROMOTION_OFFSET
from dejavu.model.config import NetworkConfig
from dejavu.model.shapes import MOVE_SQUARES, RANKS, RECORD_TOKENS
from dejavu.retrieval.moves import CONTINUATION_PLIES, NO_MOVE, POLICY_SIZE

FIRST_PLY = RANKS
"""The token of the first ply, behind those of the ranks."""
_NO_SQUARE = 64


class Records(NamedTuple):
    """Records of the memory as tensors."""

    squares: Tensor
    """[N, F, 64] uint8 board features."""
    clocks: Tensor
    """[N, G]"""
    continuations: Tensor
    """[N, T] policy indices, each from its own mover's side; NO_MOVE behind the last."""
    wdl: Tensor
    """[N, 3] win, draw, loss from the side to move."""


def _move_squares() -> Tensor:
    """[POLICY_SIZE + 1, 2] from- and to-square of every policy index; the last row means no move."""
    table = torch.empty(POLICY_SIZE + 1, 2, dtype=torch.long)
    moves = torch.arange(UNDERPROMOTION_OFFSET)
    table[:UNDERPROMOTION_OFFSET] = torch.stack([moves // 64, moves % 64], dim=1)
    under = torch.arange(POLICY_SIZE - UNDERPROMOTION_OFFSET)
    from_file, direction = under // 9, under % 9 // 3
    to_file = (from_file + direction - 1).clamp(0, 7)
    table[UNDERPROMOTION_OFFSET:POLICY_SIZE] = torch.stack([48 + from_file, 56 + to_file], dim=1)
    table[POLICY_SIZE] = _NO_SQUARE
    return table


class NeighbourEncoder(nn.Module):
    """Records -> tokens [N, r, c]."""

    move_squares: Tensor
    flips: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.neighbour_width
        self.board = BoardEmbedding(RANKS, width)
        self.source = nn.Embedding(MOVE_SQUARES, width)
        self.destination = nn.Embedding(MOVE_SQUARES, width)
        self.ply = nn.Parameter(torch.randn(CONTINUATION_PLIES, width) * 0.02)
        self.evaluation = nn.Linear(3, width)
        self.layers = nn.ModuleList(
            Layer(width, config.neighbour_heads, RECORD_TOKENS, config.feed_forward_ratio)
            for _ in range(config.neighbour_layers)
        )
        self.norm = nn.LayerNorm(width)
        # Every second ply is the opponent's, seen from the other side: turn it to the side that asks.
        flips = torch.tensor([0, 56]).repeat(CONTINUATION_PLIES // 2)[:, None]
        self.register_buffer("move_squares", _move_squares(), persistent=False)
        self.register_buffer("flips", flips, persistent=False)

    def forward(self, records: Records) -> Tensor:
        board = self.board(records.squares, records.clocks)  # [N, 8, c]
        moves = torch.where(records.continuations == NO_MOVE, POLICY_SIZE, records.continuations)
        squares = self.move_squares[moves]  # [N, T, 2]
        squares = torch.where(squares == _NO_SQUARE, squares, squares ^ self.flips)
        plies = self.source(squares[..., 0]) + self.destination(squares[..., 1]) + self.ply  # [N, T, c]
        evaluation = self.evaluation(records.wdl.to(plies.dtype))[:, None]  # [N, 1, c]
        x = torch.cat([board, plies, evaluation], dim=1)  # [N, r, c]
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.norm(x)
        return out
