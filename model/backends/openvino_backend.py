"""The network converted from torch for OpenVINO's CPU plugin: fewer and longer operations than torch eager's."""

from __future__ import annotations

import copy
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import chess
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dejavu.model.backbone import Inputs, as_inputs
from dejavu.model.backends import BackendError, Logits
from dejavu.model.chunked_cross_attention import EncodedNeighbours
from dejavu.model.config import NetworkConfig
from dejavu.model.encoding import pack, stack
from dejavu.model.features import Features, features
from dejavu.model.neighbour_encoder import CONTINUATION_PLIES, RECORD_TOKENS, Records
from dejavu.model.network import Network

WARM_SIZES = (*range(1, 13), 16)
"""Sizes of parts that are computed once beforehand. A size costs some 10 ms when it is met for the first time."""

ENCODED_SIZES = (4, 8, 16, 32)
"""Records are encoded in groups of so many, or of a larger power of two, for the same reason."""

_CPU = torch.device("cpu")
_TOLERANCE = 0.05
"""Win, draw and loss of the first positions may differ so much from torch's float32; bfloat16 needs a tenth of it."""

# An engine reports to nobody that it was started: with this entry OpenVINO uses its own stub instead.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


class _Part(nn.Module):
    """A part of the forward pass as a module, with tensors in and tensors out, that can be traced."""

    def __init__(self, network: Network, function: Callable[..., Any]) -> None:
        super().__init__()
        self.network = network
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(self.network, *tensors)


def _embed(network: Network, *inputs: Tensor) -> tuple[Tensor, Tensor]:
    hidden = network.backbone(Inputs(*inputs))
    return hidden, network.chunk_embeddings(hidden)


def _heads(network: Network, hidden: Tensor, *read: Tensor) -> tuple[Tensor, Tensor]:
    neighbours = None
    if read:
        tokens, distances, present, *told = read
        moves, wdl = told or (torch.empty(0), torch.empty(0))
        neighbours = EncodedNeighbours(tokens, distances, present, moves, wdl)
    outputs = network.heads(hidden, neighbours)
    return outputs.policy, outputs.wdl


def _read(config: NetworkConfig, neighbours: EncodedNeighbours) -> tuple[Tensor, ...]:
    """What the heads of such a network read of the neighbours: a model has no inputs that it does not use."""
    return tuple(neighbours) if config.interpolation else tuple(neighbours[:3])


def _encode(network: Network, *records: Tensor) -> Tensor:
    assert network.retrieval is not None
    encoded: Tensor = network.retrieval.encoder(Records(*records))
    return encoded


class _Hidden(NamedTuple):
    tokens: Any
    """H [B, n, d], an openvino.Tensor that the heads read without a copy."""
    chunks: NDArray[np.float32]
    """[B, l, m * d]"""


class OpenVinoBackend:
    """As many streams as threads, each on one thread: a batch is cut for them as it is for torch."""

    name = "openvino"

    def __init__(self, network: Network, threads: int) -> None:
        """Convert, compile and run once. Raises BackendError if OpenVINO is missing, refuses, or computes nonsense."""
        try:
            import openvino
        except ImportError:
            raise BackendError("the Python package openvino is not installed") from None
        self.parts = threads
        self._local = threading.local()
        self._core = openvino.Core()
        self._tensor = openvino.Tensor
        self._network = network = copy.deepcopy(network).float()  # kept: constants of the models may share its memory
        try:
            has_bfloat16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            models = _convert(network)
            try:
                self._compile(models, "bf16" if has_bfloat16 else "f32")
            except RuntimeError:  # what the processor has may be masked for the libraries (ONEDNN_MAX_CPU_ISA)
                if not has_bfloat16:
                    raise
                self._compile(models, "f32")
            self._warm_up(network)
        except BackendError:
            raise
        except Exception as error:  # torch's tracer and OpenVINO raise whatever they like
            lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            raise BackendError(f"OpenVINO refuses the network: {lines[-1].strip()}") from error

    def _compile(self, models: dict[str, Any], precision: str) -> None:
        properties = {
            "INFERENCE_PRECISION_HINT": precision,
            "NUM_STREAMS": str(self.parts),
            "INFERENCE_NUM_THREADS": self.parts,
        }
        self._compiled = {name: self._core.compile_model(model, "CPU", properties) for name, model in models.items()}
        self.precision = {"bf16": "bfloat16", "f32": "float32"}[precision]

    def _warm_up(self, network: Network) -> None:
        """Compute parts of the usual sizes on all streams, so that no clock runs when it happens first."""

        def work(_: int) -> Logits:
            for size in (*WARM_SIZES, 1):
                hidden = self.embed(_example_features(size))
                answer = self.heads(hidden, None)
                if network.retrieval is not None:
                    self.heads(hidden, _example_neighbours(network.config, size))
            if network.retrieval is not None:
                for size in ENCODED_SIZES:
                    self.encode(_example_records(size))
            return answer

        with ThreadPoolExecutor(self.parts) as workers:
            answers = list(workers.map(work, range(self.parts)))
        with torch.inference_mode():
            expected = network(as_inputs(_example_features(1), _CPU)).wdl.softmax(dim=1)
        for answer in answers:
            error = float((torch.from_numpy(answer.wdl).softmax(dim=1) - expected).abs().max())
            if not error <= _TOLERANCE:
                raise BackendError(f"OpenVINO's answer is wrong: win, draw and loss are off by {error:.2f}")

    def _infer(self, name: str, inputs: list[Any]) -> list[Any]:
        """Run a compiled part in this thread's own request; -> its output tensors, overwritten by the next run."""
        requests = self._local.__dict__
        if name not in requests:
            requests[name] = self._compiled[name].create_infer_request()
        request = requests[name]
        for number, value in enumerate(inputs):
            if isinstance(value, np.ndarray):
                value = self._tensor(np.ascontiguousarray(value), shared_memory=True)
            request.set_input_tensor(number, value)
        request.infer()
        return [request.get_output_tensor(number) for number in range(len(request.output_tensors))]

    def embed(self, features: Features) -> _Hidden:
        """See `Backend.embed`."""
        tokens, chunks = self._infer("embed", list(features))
        return _Hidden(tokens, chunks.data)

    def chunk_embeddings(self, hidden: _Hidden) -> NDArray[np.float32]:
        """See `Backend.chunk_embeddings`."""
        return hidden.chunks

    def take(self, hidden: _Hidden, rows: NDArray[np.intp]) -> _Hidden:
        """See `Backend.take`."""
        return _Hidden(self._tensor(hidden.tokens.data[rows]), hidden.chunks[rows])

    def heads(self, hidden: _Hidden, neighbours: EncodedNeighbours | None) -> Logits:
        """See `Backend.heads`."""
        if neighbours is None:
            policy, wdl = self._infer("heads", [hidden.tokens])
        else:
            read = [part.numpy() for part in _read(self._network.config, neighbours)]
            policy, wdl = self._infer("heads with neighbours", [hidden.tokens, *read])
        return Logits(policy.data, wdl.data)

    def encode(self, records: Records) -> Tensor:
        """See `Backend.encode`."""
        count = len(records.squares)
        size = max(ENCODED_SIZES[0], 1 << (count - 1).bit_length())
        filled = [nn.functional.pad(part, (0, 0) * (part.ndim - 1) + (0, size - count)) for part in records]
        (encoded,) = self._infer("encode", [part.numpy() for part in filled])
        return torch.from_numpy(encoded.data[:count].copy())


def _convert(network: Network) -> dict[str, Any]:
    """The parts of `network` (float32) as OpenVINO models whose batch is of any size."""
    inputs = tuple(as_inputs(_example_features(2), _CPU))
    with torch.inference_mode():
        hidden = network.backbone(Inputs(*inputs))
    models = {"embed": _convert_part(network, _embed, inputs), "heads": _convert_part(network, _heads, (hidden,))}
    if network.retrieval is not None:
        neighbours = _read(network.config, _example_neighbours(network.config, 2))
        models["heads with neighbours"] = _convert_part(network, _heads, (hidden, *neighbours))
        models["encode"] = _convert_part(network, _encode, tuple(_example_records(2)))
    return models


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
    return frontend.convert(loaded)


def _example_features(count: int) -> Features:
    """The starting position, `count` times."""
    planes = stack([pack(chess.Board())] * count)
    return features(planes, np.zeros(count, np.uint8))


def _example_neighbours(config: NetworkConfig, count: int) -> EncodedNeighbours:
    shape = count, config.chunks if config.retrieve_by == "chunk" else 1, config.neighbours
    return EncodedNeighbours(
        tokens=torch.zeros(*shape, RECORD_TOKENS, config.neighbour_width),
        distances=torch.ones(shape),
        present=torch.ones(shape, dtype=torch.bool),
        moves=torch.zeros(shape, dtype=torch.int64),
        wdl=torch.ones(*shape, 3) / 3,
    )


def _example_records(count: int) -> Records:
    example = _example_features(count)
    return Records(
        squares=torch.from_numpy(example.squares),
        clocks=torch.from_numpy(example.clocks),
        continuations=torch.zeros(count, CONTINUATION_PLIES, dtype=torch.int64),
        wdl=torch.ones(count, 3) / 3,
    )
