"""The network's torch modules as OpenVINO models. Imports torch and traces: seconds that `compiled_cache` saves."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dejavu.model.backbone import Inputs
from dejavu.model.backends import eight_bits
from dejavu.model.backends.examples import example_features, example_neighbours, example_records, varied_features
from dejavu.model.backends.simplification import simplified
from dejavu.model.chess.features import Features
from dejavu.model.chunked_cross_attention import EncodedNeighbours
from dejavu.model.neighbour_encoder import Records
from dejavu.model.network import Network
from dejavu.model.shapes import RECORD_TOKENS


class Converted(NamedTuple):
    """What a backend needs of a network."""

    embed: Any
    """Backbone and heads without neighbours as openvino.Model, whose batch is of any size."""
    others: dict[str, Any]
    """The parts of the forward pass that a network with a retrieval part has besides, in the same way."""
    wdl: NDArray[np.float32]
    """[3] win, draw, loss of the starting position without memory, by torch in float32."""
    network: Network
    """To be kept while the models are in use: their constants may share its memory."""


class InEightBits(NamedTuple):
    """`Converted.embed` with linear maps in eight bits, and by what to judge it."""

    embed: Any
    examples: Features
    """Positions of many kinds."""
    wdl: NDArray[np.float32]
    """[positions, 3] win, draw and loss of these, by torch in float32."""


_EXAMPLES = 64


def convert(network: Network) -> Converted:
    """Convert `network`, which stays as it is. Torch's tracer and OpenVINO raise whatever they like."""
    config = network.config
    inputs = Inputs(*_tensors(example_features(2)))
    with torch.inference_mode():
        wdl = copy.deepcopy(network).float()(inputs).wdl.softmax(dim=1)[0].numpy()
        network = simplified(network)
        hidden = network.backbone(inputs)
    embed, others = _convert_part(network, _embed, inputs), {}
    if network.retrieval is not None:
        neighbours = example_neighbours(config, np.zeros((RECORD_TOKENS, config.neighbour_width), np.float32), 2)
        # A model has no inputs that it does not use.
        read = neighbours if config.interpolation else neighbours[:3]
        others["heads"] = _convert_part(network, _heads, (hidden, *_tensors(read)))
        others["encode"] = _convert_part(network, _encode, _tensors(example_records(2)))
    return Converted(embed, others, wdl, network)


def with_short_tokens(embed: Any) -> Any:
    """A copy of `Converted.embed` whose tokens and chunk embeddings are bfloat16.

    As long as an output is float32, OpenVINO computes all that leads to it by additions alone in float32: the whole sum
    that the tokens are, with a conversion at every layer.
    """
    from openvino import Model, opset13

    model = embed.clone()
    answers = [output.get_node().input_value(0) for output in model.outputs]
    answers[:2] = [opset13.convert(answer, "bf16").output(0) for answer in answers[:2]]
    return Model([opset13.result(answer) for answer in answers], model.get_parameters())


def in_eight_bits(converted: Converted) -> InEightBits:
    """Raises ValueError if OpenVINO's model does not show the network's linear maps, or there are none."""
    network, examples = converted.network, varied_features(_EXAMPLES)
    inputs = Inputs(*_tensors(examples))
    embed = eight_bits.quantized(converted.embed, eight_bits.ranges(network.backbone, inputs))
    with torch.inference_mode():
        wdl = network(inputs).wdl.softmax(dim=1).numpy()
    return InEightBits(embed, examples, wdl)


def of_size(model: Any, size: int) -> Any:
    """A copy of `model` for batches of one size."""
    fixed = model.clone()
    shapes = [parameter.partial_shape for parameter in fixed.inputs]
    fixed.reshape({number: [size, *list(shape)[1:]] for number, shape in enumerate(shapes)})
    return fixed


def _tensors(arrays: Iterable[NDArray[Any]]) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(array) for array in arrays)


class _Part(nn.Module):
    """A part of the forward pass as a module, with tensors in and tensors out, that can be traced."""

    def __init__(self, network: Network, function: Callable[..., Any]) -> None:
        super().__init__()
        self.network = network
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(self.network, *tensors)


def _embed(network: Network, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # With the heads without neighbours: most positions have none, and what was just computed is at hand.
    hidden = network.backbone(Inputs(*inputs))
    alone = network.heads(hidden)
    return hidden, network.chunk_embeddings(hidden), alone.policy, alone.wdl


def _heads(network: Network, hidden: Tensor, *read: Tensor) -> tuple[Tensor, Tensor]:
    tokens, distances, present, *told = read
    moves, wdl = told or (torch.empty(0), torch.empty(0))
    outputs = network.heads(hidden, EncodedNeighbours(tokens, distances, present, moves, wdl))
    return outputs.policy, outputs.wdl


def _encode(network: Network, *records: Tensor) -> Tensor:
    assert network.retrieval is not None
    encoded: Tensor = network.retrieval.encoder(Records(*records))
    return encoded


def _convert_part(network: Network, function: Callable[..., Any], example: tuple[Tensor, ...]) -> Any:
    # Not openvino.convert_model: its command-line tool's layers cost seconds and report to a server.
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer's deprecation
        example = tuple(tensor.clone() for tensor in example)  # inference tensors cannot be traced
        trace: Callable[..., Any] = torch.jit.trace
        traced = trace(_Part(network, function), example, check_trace=False)
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced, example_input=example)
    loaded = frontend.load(decoder)
    model = frontend.convert(loaded)
    # Only the batch's size is open: more is fused where the widths are known.
    model.reshape({number: [-1, *tensor.shape[1:]] for number, tensor in enumerate(example)})
    return model
