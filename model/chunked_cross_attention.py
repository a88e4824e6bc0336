"""Chunked cross-attention (RETRO, arXiv 2112.04426, section 2.4) over the board's tokens.

B positions, n tokens = l chunks of m, d width, h heads, e = d / h, k neighbours, r tokens an encoded
neighbour, c neighbour width. Chunk u holds tokens u*m .. u*m + m - 1, for u = 0 .. l - 1.

The attending chunk of u is the last token of chunk u and the first m - 1 tokens of chunk u + 1; it attends E_u,
the encoded neighbours of chunk u, neighbours and time flattened. The first m - 1 tokens of the board attend
nothing and the very last token attends E_{l-1}.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor, nn

from dejavu.model.backbone import FeedForward
from dejavu.model.config import NetworkConfig


class EncodedNeighbours(NamedTuple):
    """The encoded neighbours of B positions: L = l where each chunk has its own, L = 1 where all share them."""

    tokens: Tensor
    """E [B, L, k, r, c]"""
    distances: Tensor
    """[B, L, k] squared distances between the keys, in key units."""
    present: Tensor
    """[B, L, k] bool; an absent neighbour is never attended."""
    moves: Tensor
    """[B, L, k] policy index of what was played from there, NO_MOVE where nothing was."""
    wdl: Tensor
    """[B, L, k, 3] how it stood there; a third each where that is not known."""


class ChunkedCrossAttention(nn.Module):
    """H [B, n, d] and E -> what each token takes from the neighbours [B, n, d] (zero where it may take nothing).

    One learned null stands beside the neighbours, so that a chunk without any has something to attend.
    A neighbour's distance shifts its scores, per head.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.shift = config.chunk_size - 1 if config.shifted else 0
        self.query = nn.Linear(config.width, config.width)
        self.key_value = nn.Linear(config.neighbour_width, 2 * config.width)
        self.null = nn.Parameter(torch.randn(config.neighbour_width) * 0.02)
        self.distance_bias = nn.Linear(2, config.heads)
        self.out = nn.Linear(config.width, config.width)
        nn.init.zeros_(self.distance_bias.weight)
        nn.init.zeros_(self.distance_bias.bias)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, neighbours: EncodedNeighbours) -> Tensor:
        batch, n, d = x.shape
        e = d // self.heads
        groups = neighbours.tokens.shape[1]  # L; where the chunks share E, they attend it as one long chunk
        # Shift by m - 1: the attending chunks become plain chunks, the last one padded behind its only token.
        attending = F.pad(x[:, self.shift :], (0, 0, 0, self.shift))
        q = self.query(attending).view(batch, groups, -1, self.heads, e).transpose(2, 3)  # [B, L, h, n / L, e]

        tokens = neighbours.tokens.flatten(2, 3)  # [B, L, k * r, c]
        null = self.key_value(self.null).expand(batch, groups, 1, -1)
        key_value = torch.cat([null, self.key_value(tokens)], dim=2)  # [B, L, 1 + k * r, 2 * d]
        key_value = key_value.view(batch, groups, -1, 2, self.heads, e)
        k, v = key_value.permute(3, 0, 1, 4, 2, 5)  # each [B, L, h, 1 + k * r, e]

        scores = q * e**-0.5 @ k.transpose(-2, -1)  # [B, L, h, n / L, 1 + k * r]
        scores = scores + self._bias(neighbours, x.dtype)[:, :, :, None]
        mixed = (scores.softmax(dim=-1) @ v).transpose(2, 3).reshape(batch, n, d)
        taken = self.out(mixed)
        return F.pad(taken[:, : n - self.shift], (0, 0, self.shift, 0))

    def _bias(self, neighbours: EncodedNeighbours, dtype: torch.dtype) -> Tensor:
        """[B, L, h, 1 + k * r]: 0 for the null; by distance for a neighbour; minus infinity where there is none."""
        distances = neighbours.distances
        nearness = torch.stack([torch.log1p(distances) / 8, (distances == 0).to(distances.dtype)], dim=-1)
        bias = self.distance_bias(nearness.to(dtype))  # [B, L, k, h]
        bias = bias.masked_fill(~neighbours.present[..., None], float("-inf"))
        bias = bias.repeat_interleave(neighbours.tokens.shape[3], dim=2)  # [B, L, k * r, h]
        return F.pad(bias, (0, 0, 1, 0)).transpose(2, 3)


class RetrievalLayer(nn.Module):
    """Chunked cross-attention, residual, feed-forward. Starts as the identity. [B, n, d] -> [B, n, d]"""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = ChunkedCrossAttention(config)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config.width, config.feed_forward_ratio)
        nn.init.zeros_(self.feed_forward.down.weight)
        nn.init.zeros_(self.feed_forward.down.bias)

    def forward(self, x: Tensor, neighbours: EncodedNeighbours) -> Tensor:
        x = x + self.attention(self.attention_norm(x), neighbours)
        out: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return out
