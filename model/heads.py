"""What the network says of a position: a policy over moves and a value as win, draw, loss.

B positions, n tokens, d width, p policy width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dejavu.model.config import NetworkConfig, token_squares
from dejavu.model.encoding import POLICY_SIZE


class PolicyHead(nn.Module):
    """Source-destination attention (Lc0): a move's logit is the product of its two squares' vectors."""

    squares: Tensor
    landing_square: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.policy_width = config.policy_width
        squares_per_token = 64 // config.tokens
        self.source = nn.Linear(config.width, squares_per_token * config.policy_width)
        self.destination = nn.Linear(config.width, squares_per_token * config.policy_width)
        self.promotion = nn.Linear(config.policy_width, 3)  # knight, bishop, rook against the queen's logit
        order = torch.tensor(token_squares(config.layout)).flatten()
        landing = torch.arange(8)[:, None] + torch.arange(-1, 2)  # to-file for every from-file and direction
        self.register_buffer("squares", torch.argsort(order), persistent=False)
        self.register_buffer("landing_square", landing.clamp(0, 7), persistent=False)

    def _by_square(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], 64, self.policy_width)[:, self.squares]  # [B, 64, p], a1 first

    def forward(self, x: Tensor) -> Tensor:
        """x [B, n, d] -> logits [B, POLICY_SIZE] of all moves, legal or not."""
        source = self._by_square(self.source(x)) * self.policy_width**-0.5
        destination = self._by_square(self.destination(x))
        moves = source @ destination.transpose(1, 2)  # [B, from, to]
        to_last_rank = moves[:, 48:56, 56:64]  # [B, from-file, to-file]
        queen = to_last_rank.gather(2, self.landing_square.expand(x.shape[0], 8, 3))  # [B, 8, direction]
        change = self.promotion(destination[:, 56:64])[:, self.landing_square]  # [B, 8, direction, piece]
        underpromotions = queen[..., None] + change
        return torch.cat([moves.flatten(1), underpromotions.flatten(1)], dim=1).view(-1, POLICY_SIZE)


class ValueHead(nn.Module):
    """Win, draw, loss logits from the side to move."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.token = nn.Linear(config.width, 512 // config.tokens)
        self.hidden = nn.Linear(512, config.value_width)
        self.wdl = nn.Linear(config.value_width, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, n, d] -> logits [B, 3]"""
        x = torch.relu(self.token(x)).flatten(1)  # [B, 512]
        out: Tensor = self.wdl(torch.relu(self.hidden(x)))
        return out
