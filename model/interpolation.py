"""What the neighbours say themselves, added to what the network says: their move and how they stood.

Chunked cross-attention tells the tokens what the neighbours were like. To name one move with it, source and
destination have to meet again in a policy head that knows nothing of memories, and 150,000 samples do not teach that.
So the remembered move and the remembered win, draw and loss also speak for themselves, as the remembered words do in
a kNN language model (Khandelwal et al. 2020): the louder the nearer, by as much as the network has learned to trust
such a record. One remembered position is enough, then, to change what is played.

B positions, L lists of k neighbours (see chunked_cross_attention), c neighbour width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dejavu.model.chunked_cross_attention import EncodedNeighbours
from dejavu.model.config import NetworkConfig
from dejavu.model.neighbour_encoder import FIRST_PLY
from dejavu.retrieval.moves import NO_MOVE, POLICY_SIZE

_TEMPERATURE = 1000.0
"""Squared distance in key units that takes a neighbour's word down to 1 / e. The same position with another half-move
clock is some 100 away, other positions hardly ever less than 3,000: only the position itself speaks here."""
_SMALLEST_CHANCE = 1 / 510
"""Half a unit of the memory's wdl; their logarithm has to be finite."""


class Gains(NamedTuple):
    """Logits for B positions, to be added to the network's own."""

    policy: Tensor
    """[B, POLICY_SIZE]: 0 but for the neighbours' moves."""
    wdl: Tensor
    """[B, 3]: 0 if no neighbour was evaluated, since then win, draw and loss are a third each."""


class Interpolation(nn.Module):
    """Encoded neighbours -> gains, all 0 before the training."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.hidden = nn.Linear(config.neighbour_width, config.width)
        self.trust = nn.Linear(config.width, 2)
        nn.init.zeros_(self.trust.weight)
        nn.init.zeros_(self.trust.bias)

    def forward(self, neighbours: EncodedNeighbours) -> Gains:
        trust = self.trust(torch.relu(self.hidden(neighbours.tokens[..., FIRST_PLY, :])))  # [B, L, k, 2]
        nearness = torch.exp(neighbours.distances / -_TEMPERATURE) * neighbours.present  # [B, L, k]
        trust = (nearness[..., None].to(trust.dtype) * trust).flatten(1, 2)  # [B, L * k, 2]

        moves = neighbours.moves.flatten(1)
        played = moves != NO_MOVE
        policy = trust.new_zeros(trust.shape[0], POLICY_SIZE)
        policy = policy.scatter_add(1, torch.where(played, moves, 0), torch.where(played, trust[..., 0], 0.0))

        wdl = neighbours.wdl.flatten(1, 2).clamp(min=_SMALLEST_CHANCE).log()  # [B, L * k, 3]
        wdl = (wdl - wdl.mean(dim=-1, keepdim=True)).to(trust.dtype)
        return Gains(policy, (trust[..., 1:] * wdl).sum(dim=1))
