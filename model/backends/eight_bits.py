"""The linear maps of the backbone's layers in integers of eight bits, which a processor with VNNI multiplies twice as
fast as bfloat16.

Every output of such a map has its own scale for the weights (symmetric); all that a map reads has one range, cut where
the squared error over some positions is least. For OpenVINO both are FakeQuantize operations, from which it makes
integer arithmetic (its low-precision transformations). All else stays as precise as it was: the sum that the tokens
are, normalisation, attention, the heads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dejavu.model.backbone import Backbone, DynamicBias, Inputs

LEVELS = 256
"""Of what is read; the weights have one less, as many below zero as above."""

_CUTS = np.linspace(0.2, 1.0, 33)
"""Shares of the whole range that are tried."""
_PRECISE = ("layers.0.attention.qkv", "layers.0.attention.out")
"""Maps that stay as they are: most of the error of the value would come from these two (docs/history/eight-bits.md)."""
_LOOKED_AT = 400_000
"""Numbers of a map's input by which its range is chosen; of a sixth as many the range is a matter of chance."""


class Range(NamedTuple):
    """The smallest and the largest number that the integers stand for; 0 is one of them."""

    low: float
    high: float


def is_fast() -> bool:
    """Whether this processor has instructions for integers of eight bits, and the libraries may use all it has."""
    if "ONEDNN_MAX_CPU_ISA" in os.environ or not hasattr(torch.cpu, "get_capabilities"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_vnni") or capabilities.get("avx_vnni"))


def linear_maps(backbone: Backbone) -> dict[str, nn.Linear]:
    """The maps that are to be computed so, by their names within `backbone`: those that read every token of a layer,
    but for two of the first layer."""
    found = {}
    for number, layer in enumerate(backbone.layers):
        inner = [name for name, module in layer.named_modules() if isinstance(module, DynamicBias)]
        for name, module in layer.named_modules():
            if isinstance(module, nn.Linear) and not any(name.startswith(f"{each}.") for each in inner):
                found[f"layers.{number}.{name}"] = module
    return {name: module for name, module in found.items() if name not in _PRECISE}


def ranges(backbone: Backbone, inputs: Inputs) -> dict[str, Range]:
    """name of a linear map -> the range of what it reads, from what it reads in the positions `inputs`."""
    found, rng = {}, np.random.default_rng(0)

    def look(name: str, read: Tensor) -> None:
        numbers = read.flatten().numpy()
        some = rng.permutation(len(numbers))[:_LOOKED_AT]  # not every so manieth: those are always the same of a token
        found[name] = best_range(numbers[some])

    hooks = [
        module.register_forward_pre_hook(lambda _, read, name=name: look(name, read[0]))
        for name, module in linear_maps(backbone).items()
    ]
    with torch.no_grad():
        backbone(inputs)
    for hook in hooks:
        hook.remove()
    return found


def best_range(numbers: NDArray[np.float32]) -> Range:
    """The range, in proportion to that of `numbers`, to which they are rounded with the least squared error."""
    low, high = min(float(numbers.min()), 0.0), max(float(numbers.max()), 0.0)
    best, least = Range(-1.0, 1.0), np.inf  # what is always 0 fits into any
    for cut in _CUTS if low < high else ():
        step = float(cut) * (high - low) / (LEVELS - 1)
        zero = round(-cut * low / step)
        rounded = np.clip(np.round(numbers / step), -zero, LEVELS - 1 - zero) * step
        error = float(np.square(rounded - numbers).mean())
        if error < least:
            best, least = Range(-zero * step, (LEVELS - 1 - zero) * step), error
    return best


def quantized(model: Any, inputs: Mapping[str, Range]) -> Any:
    """A copy of an openvino.Model of the backbone, in which the maps with these ranges are computed in eight bits.

    Raises ValueError if it does not have them all.
    """
    from openvino import opset13

    def rounded(value: Any, low: Any, high: Any, levels: int) -> Any:
        limits = [opset13.constant(np.asarray(limit, np.float32)) for limit in (low, high)]
        return opset13.fake_quantize(value, *limits, *limits, levels).output(0)

    model = model.clone()
    missing = set(inputs)
    read: dict[tuple[str, int], Any] = {}
    for operation in model.get_ordered_ops():
        name = _name_of_map(operation)
        if name not in missing:
            continue
        missing.remove(name)
        source = operation.input_value(0)
        key = source.get_node().get_friendly_name(), source.get_index()  # several maps read the same
        if key not in read:
            read[key] = rounded(source, *inputs[name], LEVELS)
        weight = operation.input_value(1).get_node().data.astype(np.float32)  # [outputs, inputs]
        largest = np.maximum(np.abs(weight).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        operation.input(0).replace_source_output(read[key])
        operation.input(1).replace_source_output(rounded(opset13.constant(weight), -largest, largest, LEVELS - 1))
    if missing:
        raise ValueError(f"the converted network has no linear map {min(missing)}")
    model.validate_nodes_and_infer_types()
    return model


def _name_of_map(operation: Any) -> str:
    """What the backbone calls the linear map that is computed by `operation`; empty if there is none."""
    if operation.get_type_name() != "MatMul":
        return ""
    path, _, rest = str(operation.get_friendly_name()).partition("/")
    return path.removeprefix("__module.network.backbone.") if rest == "aten::linear/MatMul" else ""
