"""The shape of every tensor of a network, from its config alone: a file is checked before anything is built of it.

What the torch modules make of a config must be the same; a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dejavu.model.chess.features import CLOCK_FEATURES, SQUARE_FEATURES
from dejavu.model.config import TOKENS, NetworkConfig
from dejavu.retrieval.moves import CONTINUATION_PLIES

BOARD_NUMBERS = 512
"""Numbers that all tokens together tell of a board: to the value head, and to the dynamic bias."""
BOARD_DESCRIPTION = 128
"""Numbers the dynamic bias describes the board with."""
RANKS = 8
"""Tokens that a remembered board is cut into."""
RECORD_TOKENS = RANKS + CONTINUATION_PLIES + 1
"""r: ranks of the board, plies, evaluation."""
MOVE_SQUARES = 64 + 1
"""Where a remembered ply may go from or to: the squares, and nowhere."""

Shape = tuple[int, ...]
_Shapes = Iterator[tuple[str, Shape]]


def tensor_shapes(config: NetworkConfig, has_retrieval: bool) -> dict[str, Shape]:
    """name -> shape of the tensors that a network with this config has."""
    return dict(_network(config, has_retrieval))


def misfit(config: NetworkConfig, has_retrieval: bool, found: Mapping[str, Shape]) -> str | None:
    """The first thing, in words, in which tensors of shapes `found` are not those of the config; None if they are."""
    expected = tensor_shapes(config, has_retrieval)
    for name, shape in expected.items():
        if name not in found:
            return f"there is no tensor {name!r}"
        if found[name] != shape:
            return f"tensor {name!r} has shape {list(found[name])} instead of {list(shape)}"
    unknown = min(found.keys() - expected.keys(), default=None)
    return None if unknown is None else f"tensor {unknown!r} does not belong there"


def _network(config: NetworkConfig, has_retrieval: bool) -> _Shapes:
    width = config.width
    yield from _backbone(config)
    yield from _norm("norm", width)
    yield from _linear("policy.source", width, config.policy_width)
    yield from _linear("policy.destination", width, config.policy_width)
    yield from _linear("policy.promotion", config.policy_width, 3)
    yield from _linear("value.token", width, BOARD_NUMBERS // TOKENS)
    yield from _linear("value.hidden", BOARD_NUMBERS, config.value_width)
    yield from _linear("value.wdl", config.value_width, 3)
    if has_retrieval:
        yield from _encoder(config)
        yield from _retrieval_layer(config)
        if config.interpolation:
            yield from _linear("retrieval.interpolation.hidden", config.neighbour_width, width)
            yield from _linear("retrieval.interpolation.trust", width, 2)


def _backbone(config: NetworkConfig) -> _Shapes:
    yield from _board("backbone.embedding", TOKENS, config.width)
    if config.dynamic_bias:
        yield "backbone.maps", (config.dynamic_bias, TOKENS**2)
    for number in range(config.layers):
        layer = f"backbone.layers.{number}"
        yield from _layer(
            layer,
            config.width,
            config.heads,
            TOKENS,
            config.feed_forward_ratio,
            config.attack_width,
            config.heads * config.key_width,
        )
        if config.dynamic_bias:
            bias = f"{layer}.attention.dynamic_bias"
            yield from _linear(f"{bias}.token", config.width, BOARD_NUMBERS // TOKENS)
            yield from _linear(f"{bias}.board", BOARD_NUMBERS, BOARD_DESCRIPTION)
            yield from _norm(f"{bias}.norm", BOARD_DESCRIPTION)
            yield from _linear(f"{bias}.weights", BOARD_DESCRIPTION, config.heads * config.dynamic_bias)


def _encoder(config: NetworkConfig) -> _Shapes:
    encoder, width = "retrieval.encoder", config.neighbour_width
    yield from _board(f"{encoder}.board", RANKS, width)
    yield f"{encoder}.source.weight", (MOVE_SQUARES, width)
    yield f"{encoder}.destination.weight", (MOVE_SQUARES, width)
    yield f"{encoder}.ply", (CONTINUATION_PLIES, width)
    yield from _linear(f"{encoder}.evaluation", 3, width)
    for number in range(config.neighbour_layers):
        layer = f"{encoder}.layers.{number}"
        yield from _layer(layer, width, config.neighbour_heads, RECORD_TOKENS, config.feed_forward_ratio)
    yield from _norm(f"{encoder}.norm", width)


def _retrieval_layer(config: NetworkConfig) -> _Shapes:
    layer, width = "retrieval.layer", config.width
    yield from _norm(f"{layer}.attention_norm", width)
    yield from _linear(f"{layer}.attention.query", width, width)
    yield from _linear(f"{layer}.attention.key_value", config.neighbour_width, 2 * width)
    yield f"{layer}.attention.null", (config.neighbour_width,)
    yield from _linear(f"{layer}.attention.distance_bias", 2, config.heads)
    yield from _linear(f"{layer}.attention.out", width, width)
    yield from _feed_forward(layer, width, config.feed_forward_ratio)


def _layer(name: str, width: int, heads: int, tokens: int, ratio: int, attack_width: int = 0, keys: int = 0) -> _Shapes:
    """`keys` of all heads; 0 is the width."""
    yield from _norm(f"{name}.attention_norm", width)
    yield f"{name}.attention.bias", (heads, tokens, tokens)
    yield from _linear(f"{name}.attention.qkv", width, 2 * (keys or width) + width)
    yield from _linear(f"{name}.attention.out", width + 2 * attack_width, width)
    if attack_width:
        yield from _linear(f"{name}.attention.messages", width, 2 * attack_width)
    yield from _feed_forward(name, width, ratio)


def _feed_forward(name: str, width: int, ratio: int) -> _Shapes:
    yield from _norm(f"{name}.feed_forward_norm", width)
    yield from _linear(f"{name}.feed_forward.up", width, ratio * width)
    yield from _linear(f"{name}.feed_forward.down", ratio * width, width)


def _board(name: str, tokens: int, width: int) -> _Shapes:
    yield f"{name}.place", (tokens, width)
    yield from _linear(f"{name}.squares", SQUARE_FEATURES * (64 // tokens), width)
    yield f"{name}.clocks.weight", (width, CLOCK_FEATURES)


def _linear(name: str, inputs: int, outputs: int) -> _Shapes:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> _Shapes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)
