"""What the network says of a position: a policy over moves and a value as win, draw, loss.

B positions, n tokens, d width, p policy width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dejavu.model.config import TOKENS, NetworkConfig
from dejavu.model.shapes import BOARD_NUMBERS


class PolicyHead(nn.Module):
    """Source-destination attention (Lc0): a move's logit is the product of its two squares' vectors."""

    queen_of: Tensor
    change_of: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.policy_width = config.policy_width
        self.source = nn.Linear(config.width, config.policy_width)
        self.destination = nn.Linear(config.width, config.policy_width)
        self.promotion = nn.Linear(config.policy_width, 3)  # knight, bishop, rook against the queen's logit
        queen_of, change_of = _underpromotions()
        self.register_buffer("queen_of", queen_of, persistent=False)
        self.register_buffer("change_of", change_of, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, n, d] -> logits [B, POLICY_SIZE] of all moves, legal or not."""
        source = self.source(x) * self.policy_width**-0.5  # [B, 64, p], a1 first
        destination = self.destination(x)
        moves = source @ destination.transpose(1, 2)  # [B, from, to]
        queens = moves[:, 48:56, 56:64].flatten(1)  # [B, from-file and to-file]
        changes = self.promotion(destination[:, 56:64]).flatten(1)  # [B, to-file and piece]
        underpromotions = queens @ self.queen_of + changes @ self.change_of
        return torch.cat([moves.flatten(1), underpromotions], dim=1)


def _underpromotions() -> tuple[Tensor, Tensor]:
    """Which queen's logit [64, U] and which change of it [24, U] each of the U underpromotions is the sum of.

    As matrices of ones and zeros: products with them are exact, and faster than picking numbers one by one.
    """
    from_file, direction, piece = torch.meshgrid(torch.arange(8), torch.arange(3), torch.arange(3), indexing="ij")
    to_file = (from_file + direction - 1).clamp(0, 7)
    queens, changes = from_file * 8 + to_file, to_file * 3 + piece
    return torch.eye(64)[queens.flatten()].T.contiguous(), torch.eye(24)[changes.flatten()].T.contiguous()


class ValueHead(nn.Module):
    """Win, draw, loss logits from the side to move."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.token = nn.Linear(config.width, BOARD_NUMBERS // TOKENS)
        self.hidden = nn.Linear(BOARD_NUMBERS, config.value_width)
        self.wdl = nn.Linear(config.value_width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, n, d] -> logits [B, 3]"""
        x = torch.relu(self.token(x)).flatten(1)  # [B, 512]
        out: Tensor = self.wdl(torch.relu(self.hidden(x)))
        return out
