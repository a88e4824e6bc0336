"""The transformer over the board's tokens (Vaswani et al. 2017, pre-norm, attention bias as in Lc0).

B positions, n tokens, d width, h heads, e = d / h head width, f key width, F features a square, s squares a token,
g numbers a head of the dynamic bias.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dejavu.model.chess.features import ATTACKER_COUNT_SCALE, CLOCK_FEATURES, SQUARE_FEATURES, Features
from dejavu.model.config import TOKENS, NetworkConfig
from dejavu.model.shapes import BOARD_DESCRIPTION, BOARD_NUMBERS


class Inputs(NamedTuple):
    """`Features` of B positions as tensors."""

    squares: Tensor
    """[B, F, 64] uint8"""
    clocks: Tensor
    """[B, G]"""
    attacks: Tensor
    """[B, 64, 64] uint8, from and to"""


def as_inputs(features: Features, device: torch.device) -> Inputs:
    """Tensors on `device` of the arrays of `features`."""
    return Inputs(*(torch.from_numpy(array).to(device) for array in features))


class DynamicBias(nn.Module):
    """Attention bias made from the whole board (smolgen, Lc0): of a few numbers a token a description of the position,
    of that g numbers a head. They weigh g maps of pairs of tokens, which the heads of all layers share."""

    def __init__(self, width: int, heads: int, tokens: int, numbers: int) -> None:
        super().__init__()
        self.heads = heads
        self.token = nn.Linear(width, BOARD_NUMBERS // tokens)
        self.board = nn.Linear(BOARD_NUMBERS, BOARD_DESCRIPTION)
        self.norm = nn.LayerNorm(BOARD_DESCRIPTION)
        self.weights = nn.Linear(BOARD_DESCRIPTION, heads * numbers)

    def forward(self, x: Tensor, maps: Tensor) -> Tensor:
        """x [B, n, d], maps [g, n * n] -> [B, h, n, n]"""
        batch, tokens, _ = x.shape
        board = self.token(x).flatten(1)  # [B, 512]
        board = self.norm(torch.relu(self.board(board)).square())  # [B, 128]
        weights = self.weights(board).view(batch, self.heads, -1)  # [B, h, g]
        bias: Tensor = weights @ maps  # [B, h, n * n]
        return bias.view(batch, self.heads, tokens, tokens)


class SelfAttention(nn.Module):
    """Multi-head self-attention, written out: with a bias it beats the fused kernel on few, short heads.

    Beside the learned heads, `attack_width` numbers a square travel along the attacks of the board: the rules of
    the game as two heads whose attention is known, one each way.
    """

    def __init__(
        self, width: int, heads: int, tokens: int, attack_width: int = 0, dynamic_bias: int = 0, key_width: int = 0
    ) -> None:
        """`key_width` 0 is the head width."""
        super().__init__()
        self.heads = heads
        self.key_width = key_width or width // heads
        self.scale = self.key_width**-0.5
        self.qkv = nn.Linear(width, 2 * heads * self.key_width + width)
        """What a head asks, answers to and passes on, one head after the other."""
        self.out = nn.Linear(width + 2 * attack_width, width)
        self.bias = nn.Parameter(torch.zeros(heads, tokens, tokens))
        self.dynamic_bias = DynamicBias(width, heads, tokens, dynamic_bias) if dynamic_bias else None
        self.messages = nn.Linear(width, 2 * attack_width) if attack_width else None

    def forward(self, x: Tensor, attacks: Tensor | None = None, maps: Tensor | None = None) -> Tensor:
        """x [B, n, d] -> [B, n, d]

        For a layer that is made for them: attacks [B, 2, 64, 64] both ways, maps [g, n * n] of the dynamic bias.
        """
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, self.heads, -1).transpose(1, 2)  # [B, h, n, 2 * f + e]
        q, k, v = qkv.split([self.key_width, self.key_width, width // self.heads], dim=3)
        scores = q * self.scale @ k.transpose(-2, -1) + self.bias  # [B, h, n, n]
        if self.dynamic_bias is not None and maps is not None:
            scores = scores + self.dynamic_bias(x, maps)
        mixed = scores.softmax(dim=-1) @ v  # [B, h, n, e]
        mixed = mixed.transpose(1, 2).reshape(batch, tokens, width)  # [B, n, d]
        if self.messages is not None and attacks is not None:
            messages = self.messages(x).view(batch, tokens, 2, -1).transpose(1, 2)  # [B, 2, n, attack width]
            received = (attacks @ messages).transpose(1, 2).flatten(2)  # [B, n, 2 * attack width]
            mixed = torch.cat([mixed, received], dim=-1)
        out: Tensor = self.out(mixed)
        return out


class FeedForward(nn.Module):
    """Two linear layers around a squared ReLU (Primer, So et al. 2021: cheap and as good as GELU)."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, ratio * width)
        self.down = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(torch.relu(self.up(x)).square())
        return out


class Layer(nn.Module):
    """Self-attention and feed-forward, each on a normalised copy and added back. [B, n, d] -> [B, n, d]"""

    def __init__(
        self,
        width: int,
        heads: int,
        tokens: int,
        feed_forward_ratio: int,
        attack_width: int = 0,
        dynamic_bias: int = 0,
        key_width: int = 0,
    ) -> None:
        super().__init__()
        self.attention_norm: nn.Module = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, tokens, attack_width, dynamic_bias, key_width)
        self.feed_forward_norm: nn.Module = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, feed_forward_ratio)

    def forward(self, x: Tensor, attacks: Tensor | None = None, maps: Tensor | None = None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), attacks, maps)
        out: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return out


class BoardEmbedding(nn.Module):
    """Square features -> tokens of s squares in a row, a1 first: these side by side, one linear map, a place bias."""

    feature_scale: Tensor

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        scale = torch.ones(SQUARE_FEATURES, 1)
        scale[-2:] = ATTACKER_COUNT_SCALE
        self.register_buffer("feature_scale", scale, persistent=False)
        self.tokens = tokens
        self.squares = nn.Linear(SQUARE_FEATURES * 64 // tokens, width)
        self.clocks = nn.Linear(CLOCK_FEATURES, width, bias=False)
        self.place = nn.Parameter(torch.randn(tokens, width) * 0.02)

    def forward(self, squares: Tensor, clocks: Tensor) -> Tensor:
        """squares [B, F, 64] uint8, clocks [B, G] -> [B, n, d]"""
        dtype = self.place.dtype
        x = squares.to(dtype) * self.feature_scale.to(dtype)
        x = x.view(x.shape[0], SQUARE_FEATURES, self.tokens, -1)  # [B, F, n, s]
        x = x.transpose(1, 2).reshape(x.shape[0], self.tokens, -1)  # [B, n, F * s]
        out: Tensor = self.squares(x) + self.clocks(clocks.to(dtype))[:, None] + self.place
        return out


class Backbone(nn.Module):
    """Board features -> H [B, n, d]. Frozen once trained: the memory's keys are made of H."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.embedding = BoardEmbedding(TOKENS, config.width)
        self.layers = nn.ModuleList(
            Layer(
                config.width,
                config.heads,
                TOKENS,
                config.feed_forward_ratio,
                config.attack_width,
                config.dynamic_bias,
                config.key_width,
            )
            for _ in range(config.layers)
        )
        self.maps = nn.Parameter(torch.zeros(config.dynamic_bias, TOKENS**2)) if config.dynamic_bias else None
        self.uses_attacks = config.attack_width > 0
        self.attack_scale = ATTACKER_COUNT_SCALE

    def forward(self, inputs: Inputs) -> Tensor:
        x: Tensor = self.embedding(inputs.squares, inputs.clocks)
        attacks = None
        if self.uses_attacks:
            attacking = inputs.attacks.to(x.dtype) * self.attack_scale
            # The first numbers of a message go to the squares it attacks, the others to those that attack it.
            attacks = torch.stack([attacking.transpose(1, 2), attacking], dim=1)  # [B, 2, to, from]
        for layer in self.layers:
            x = layer(x, attacks, self.maps)
        return x
