"""A network rewritten so that it computes the same with fewer operations, for backends that convert it once.

Four rewritings, exact but for the rounding of the weights:

    Attention's scale goes into the weights of the queries.
    The features and the attacks of the board stay small integers; their scale goes into the weights that read them, and
    into those of what is sent along the attacks.
    Every layer normalisation of the backbone becomes a root mean square one (Zhang & Sennrich 2019). What the two
    differ in is the mean, which is taken away beforehand: from the weights of all that is added to the stream of
    tokens. The normalisation's own bias goes into the linear maps that read it.
    The bias that all tokens begin with goes into that of each place. Without its mean it is no number of bfloat16 any
    more; what rounding took from all tokens alike would move the shipped network's value by up to 0.03, what it takes
    from one place and gives to another does not.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn

from dejavu.model.backbone import BoardEmbedding, Layer, SelfAttention
from dejavu.model.network import Network


def simplified(network: Network) -> Network:
    """A copy in float32, simplified; its H differs by the mean of every token, which nothing after it depends on."""
    network = copy.deepcopy(network).float().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, SelfAttention):
            _fold_scale(module)
    embedding = network.backbone.embedding
    _fold_feature_scale(embedding)
    _centre(embedding.squares)
    _centre(embedding.clocks)
    embedding.place.sub_(embedding.place.mean(dim=-1, keepdim=True))
    embedding.place.add_(embedding.squares.bias)
    embedding.squares.bias.zero_()
    for layer in network.backbone.layers:
        assert isinstance(layer, Layer)
        if layer.attention.messages is not None:
            layer.attention.messages.weight.mul_(network.backbone.attack_scale)
            layer.attention.messages.bias.mul_(network.backbone.attack_scale)
        _centre(layer.attention.out)
        _centre(layer.feed_forward.down)
        readers = [layer.attention.qkv]
        if layer.attention.messages is not None:
            readers.append(layer.attention.messages)
        if layer.attention.dynamic_bias is not None:
            readers.append(layer.attention.dynamic_bias.token)
        layer.attention_norm = _without_mean(layer.attention_norm, readers)
        layer.feed_forward_norm = _without_mean(layer.feed_forward_norm, [layer.feed_forward.up])
    network.backbone.attack_scale = 1.0
    return network


def _fold_feature_scale(embedding: BoardEmbedding) -> None:
    squares = embedding.squares.in_features // len(embedding.feature_scale)
    embedding.squares.weight.mul_(embedding.feature_scale.flatten().repeat_interleave(squares))
    embedding.feature_scale.fill_(1.0)


def _fold_scale(attention: SelfAttention) -> None:
    for parameter in (attention.qkv.weight, attention.qkv.bias):
        parameter.view(attention.heads, -1, *parameter.shape[1:])[:, : attention.key_width] *= attention.scale
    attention.scale = 1.0


def _centre(linear: nn.Linear) -> None:
    """Take the mean over its outputs away from what `linear` computes."""
    linear.weight.sub_(linear.weight.mean(dim=0))
    bias: Tensor | None = linear.bias
    if bias is not None:
        bias.sub_(bias.mean())


def _without_mean(norm: nn.Module, readers: list[nn.Linear]) -> nn.RMSNorm:
    """What does for centred tokens as `norm` does, once its bias is in its `readers`."""
    assert isinstance(norm, nn.LayerNorm)
    for reader in readers:
        reader.bias.add_(reader.weight @ norm.bias)
    simpler = nn.RMSNorm(norm.normalized_shape, eps=norm.eps)
    simpler.weight = nn.Parameter(norm.weight, requires_grad=False)
    return simpler
