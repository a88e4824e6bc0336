"""A trained network made narrower where it uses few of its numbers: what heads compare squares by, what attacks carry.

A head scores two tokens by x Q K^T y, a message along an attack becomes O M x, with one added to each token for the
biases. Of all narrower pairs of matrices the one with the best product is kept, by the tokens that the network sees:
with their second moments C the singular vectors of C^(1/2) Q K^T C^(1/2) and of O M C^(1/2). What all keys have in
common moves no softmax and is taken away first.

a attack width, f key width, d width, N tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from dejavu.model.backbone import Inputs, Layer, SelfAttention
from dejavu.model.config import NetworkConfig
from dejavu.model.network import Network


class Seen(NamedTuple):
    """The tokens that an attention reads, with a one behind each: their mean [d + 1], and roots of their moments."""

    mean: Tensor
    root: Tensor
    """C^(1/2) [d + 1, d + 1]"""
    inverse: Tensor

    @classmethod
    def of(cls, tokens: Tensor) -> Seen:
        """tokens [N, d]"""
        x = torch.cat([tokens.double(), torch.ones(len(tokens), 1, dtype=torch.float64)], dim=1)
        values, vectors = torch.linalg.eigh(x.T @ x / len(x))
        values = values.clamp(min=1e-9 * float(values.max()))
        root, inverse = (vectors * values**power @ vectors.T for power in (0.5, -0.5))
        return cls(x.mean(dim=0), root, inverse)


@torch.no_grad()
def narrowed(network: Network, inputs: Inputs, key_width: int | None, attack_width: int | None) -> Network:
    """A network of these widths, as like the given one on `inputs` as can be; None leaves a width as it is.

    It has no retrieval part. Raises ValueError for a width that is more than the net has.
    """
    config = _config(network.config, key_width, attack_width)
    network = network.float()
    narrow = Network(config, retrieval=False)
    state = network.state_dict()
    for number, tokens in enumerate(_attended(network, inputs)):
        layer, seen = network.backbone.layers[number], Seen.of(tokens)
        assert isinstance(layer, Layer)
        parts = _narrow_keys(layer.attention, seen, config.key_width) if config.key_width else {}
        if config.attack_width:
            parts |= _narrow_messages(layer.attention, seen, config.attack_width)
        state |= {f"backbone.layers.{number}.attention.{name}": value.float() for name, value in parts.items()}
    narrow.load_state_dict(state, strict=False)
    return narrow


def _config(config: NetworkConfig, key_width: int | None, attack_width: int | None) -> NetworkConfig:
    keys, attacks = config.key_width or config.width // config.heads, config.attack_width
    for width, present, name in ((key_width, keys, "key"), (attack_width, attacks, "attack")):
        if width is not None and not 0 < width <= present:
            raise ValueError(f"a net whose {name} width is {present} cannot be narrowed to {width}")
    return replace(config, key_width=key_width or config.key_width, attack_width=attack_width or config.attack_width)


def _attended(network: Network, inputs: Inputs) -> list[Tensor]:
    """What each layer's attention reads, [B * n, d]."""
    found: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda module, given, read: found.append(read.flatten(0, 1)))
        for name, module in network.backbone.named_modules()
        if name.endswith(".attention_norm")
    ]
    network(inputs)
    for hook in hooks:
        hook.remove()
    return found


def _narrow_keys(attention: SelfAttention, seen: Seen, width: int) -> dict[str, Tensor]:
    """Weight and bias of queries, keys and values."""
    linear = torch.cat([attention.qkv.weight, attention.qkv.bias[:, None]], dim=1).double()
    present = attention.key_width
    narrow: list[Tensor] = []
    scale = (width / present) ** 0.25  # both sides: scores are divided by another root
    for head in linear.view(attention.heads, -1, linear.shape[1]):  # [2 * f + e, d + 1]
        q, k, v = head.split([present, present, len(head) - 2 * present])
        k = k.clone()
        k[:, -1] -= k @ seen.mean
        left, strengths, right = torch.linalg.svd(seen.root @ q.T @ k @ seen.root)
        share = scale * strengths[:width].sqrt()[:, None]
        narrow += [share * left[:, :width].T @ seen.inverse, share * right[:width] @ seen.inverse, v]
    joined = torch.cat(narrow)
    return {"qkv.weight": joined[:, :-1], "qkv.bias": joined[:, -1]}


def _narrow_messages(attention: SelfAttention, seen: Seen, width: int) -> dict[str, Tensor]:
    """Weight and bias of the messages, and the weight of `out`, which reads them behind what the heads pass on."""
    assert attention.messages is not None
    linear = torch.cat([attention.messages.weight, attention.messages.bias[:, None]], dim=1).double()
    heads = attention.qkv.in_features
    sent: list[Tensor] = []
    read = [attention.out.weight[:, :heads].double()]
    both_ways = zip(linear.chunk(2), attention.out.weight[:, heads:].double().chunk(2, dim=1), strict=True)
    for message, out in both_ways:  # [a, d + 1], [d, a]
        left, strengths, right = torch.linalg.svd(out @ message @ seen.root, full_matrices=False)
        share = strengths[:width].sqrt()
        sent.append(share[:, None] * right[:width] @ seen.inverse)
        read.append(left[:, :width] * share)
    joined = torch.cat(sent)
    return {"messages.weight": joined[:, :-1], "messages.bias": joined[:, -1], "out.weight": torch.cat(read, dim=1)}
