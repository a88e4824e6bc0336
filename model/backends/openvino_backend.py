"""The network converted from torch for OpenVINO's CPU plugin: fewer and longer operations than torch eager's.

Converted and compiled once, it is kept among the user's caches; torch is not even imported when it comes from there.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import dejavu.model
from dejavu.model.backends import compiled_cache
from dejavu.model.backends.examples import example_features, example_neighbours, example_records
from dejavu.model.backends.protocol import BackendError, Logits
from dejavu.model.chess.features import Features
from dejavu.model.neighbours import EncodedArrays, RecordArrays
from dejavu.model.weights import Weights

if TYPE_CHECKING:
    from dejavu.model.backends.openvino_conversion import Converted

WARM_SIZES = (1, 2, 4, 8, 12)
"""Sizes of parts that are computed once beforehand: those of the usual minibatches on two threads."""

FIXED_SIZES = (1, 2, 4, 8, 12)
"""What the retrieval part is compiled for, each apart: a batch is filled up to the next of these, and cut where it is
larger than all. Of its short batches hardly two in a row have the same size, and a network for batches of any size
takes half a millisecond to change it, as long as it computes for five positions."""

_MINIBATCHES = (8, 12, 16, 20, 24)
"""Of a usual search: the backbone is compiled for the parts that these are cut into, each apart, and for any size."""

_log = logging.getLogger("dejavu")

_TOLERANCE = 0.05
"""Win, draw and loss of the starting position may differ so much from torch's float32; bfloat16 needs a tenth of it."""

_EIGHT_BITS_TOLERANCE = 0.05
"""Root mean square of the error of win less loss with which integers of eight bits are taken; usual are 0.02. A net
differs from Stockfish's judgement by 0.3."""

_PRECISIONS = {"bf16": "bfloat16", "f32": "float32", "i8+bf16": "int8 and bfloat16", "i8+f32": "int8 and float32"}


def padded_size(count: int) -> int:
    """The size that a part of `count` positions is filled up to for the backbone.

    A size that OpenVINO has not met yet costs some 10 ms and, for good, 2 MB of a small network; so there are few.
    """
    if count <= 4:
        return 1 << (count - 1).bit_length()
    step = 4 if count <= 32 else 16
    return -(-count // step) * step


def embed_sizes(parts: int) -> tuple[int, ...]:
    """What the backbone is compiled for, each apart, where batches are cut into `parts`."""
    return tuple(sorted({padded_size(-(-count // parts)) for count in _MINIBATCHES}))


def import_openvino() -> Any:
    """The module `openvino`; raises BackendError if it is not installed."""
    # It does without its command-line converter where there is none. That would cost a tenth of a second at every
    # start, and report the start to a server.
    sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError:
        raise BackendError("the Python package openvino is not installed") from None
    return openvino


class _Hidden(NamedTuple):
    tokens: NDArray[Any]
    """H [B, n, d], as OpenVINO gives it (`_long` makes float32 of it)."""
    chunks: NDArray[Any]
    """[B, l, m * d], likewise."""
    alone: Logits
    """What the network says without neighbours."""


class OpenVinoBackend:
    """As many streams as threads, each on one thread: a batch is cut for them as it is for torch."""

    name = "openvino"

    def __init__(self, weights: Weights, threads: int) -> None:
        """Get the network ready, compiled before or now, and run it once.

        Raises BackendError if OpenVINO is missing, refuses, or computes nonsense.
        """
        openvino = import_openvino()
        self.parts = threads
        self._embed_sizes = embed_sizes(threads)
        self._config = weights.config
        self._has_retrieval = weights.has_retrieval
        self._local = threading.local()
        self._core = openvino.Core()
        self._tensor = openvino.Tensor
        self._kept: object = None
        try:
            key = self._key(weights, openvino.__version__)
            kept = compiled_cache.read(key)
            if kept is not None and self._import(kept):
                self._warm_up()
            else:
                made = self._convert(weights)
                self._warm_up()
                compiled_cache.write(key, made)
        except BackendError:
            raise
        except Exception as error:  # torch's tracer and OpenVINO raise whatever they like
            raise BackendError(f"OpenVINO refuses the network: {_last_line(error)}") from error

    def _key(self, weights: Weights, version: str) -> str:
        """Everything that a compiled network depends on."""
        device = [self._core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
        state = {
            "openvino": version,
            "device": [str(value) for value in device],
            "masked": os.environ.get("ONEDNN_MAX_CPU_ISA"),
            "threads": self.parts,
            "weights": weights.checksum,
            "config": weights.config.to_json(),
            "retrieval": weights.has_retrieval,
            "code": _code_digest(),
        }
        return json.dumps(state, sort_keys=True)

    def _import(self, kept: dict[str, bytes]) -> bool:
        """Take over what `_convert` has returned at an earlier start; False if OpenVINO does not want it."""
        models = {name: data for name, data in kept.items() if name not in ("precision", "wdl")}
        precision = kept["precision"].decode()
        properties = self._properties(precision)

        def load(data: bytes) -> Any:
            return self._core.import_model(io.BytesIO(data), "CPU", properties)

        try:
            with ThreadPoolExecutor(self.parts) as workers:
                self._compiled = dict(zip(models, workers.map(load, models.values()), strict=True))
        except RuntimeError:
            return False
        self.precision = _PRECISIONS[precision]
        self._expected = np.frombuffer(kept["wdl"], np.float32)
        return True

    def _convert(self, weights: Weights) -> dict[str, bytes]:
        """Convert and compile the torch modules; -> what `_import` needs."""
        from dejavu.model.backends import openvino_conversion

        converted = openvino_conversion.convert(weights.network)
        self._kept = converted.network
        self._expected = converted.wdl
        has_bfloat16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        precision = "bf16" if has_bfloat16 else "f32"
        try:
            in_eight_bits = self._compile_all(converted, precision)
        except RuntimeError:  # what the processor has may be masked for the libraries (ONEDNN_MAX_CPU_ISA)
            if not has_bfloat16:
                raise
            precision = "f32"
            in_eight_bits = self._compile_all(converted, precision)
        if in_eight_bits:
            precision = f"i8+{precision}"
        self.precision = _PRECISIONS[precision]
        exported = {name: compiled.export_model().getvalue() for name, compiled in self._compiled.items()}
        return {**exported, "precision": precision.encode(), "wdl": converted.wdl.tobytes()}

    def _properties(self, precision: str) -> dict[str, Any]:
        return {
            "INFERENCE_PRECISION_HINT": precision.removeprefix("i8+"),
            "NUM_STREAMS": str(self.parts),
            "INFERENCE_NUM_THREADS": self.parts,
            # Bound to a core, a stream waits for whatever else runs there while another core may be idle; and several
            # engines at once would all be bound to the same cores.
            "ENABLE_CPU_PINNING": False,
        }

    def _compile_all(self, converted: Converted, precision: str) -> bool:
        """Compile every part, for every size; whether the backbone's linear maps are in eight bits."""
        from dejavu.model.backends import openvino_conversion

        embed = converted.embed
        if precision == "bf16":
            embed = openvino_conversion.with_short_tokens(embed)
        self._compiled = {}
        in_eight_bits = self._compile_in_eight_bits(converted._replace(embed=embed), precision)
        models = {}
        if in_eight_bits is None:
            models["embed"] = embed
        else:
            embed = in_eight_bits
        models |= {_fixed("embed", size): openvino_conversion.of_size(embed, size) for size in self._embed_sizes}
        for name, model in converted.others.items():
            models |= {_fixed(name, size): openvino_conversion.of_size(model, size) for size in FIXED_SIZES}
        properties = self._properties(precision)
        self._compiled |= {name: self._core.compile_model(model, "CPU", properties) for name, model in models.items()}
        return in_eight_bits is not None

    def _compile_in_eight_bits(self, converted: Converted, precision: str) -> Any | None:
        """Compile the backbone for any size so, if that is faster here and precise enough; -> its model, or None."""
        from dejavu.model.backends import eight_bits, openvino_conversion

        if not eight_bits.is_fast():
            return None
        try:
            candidate = openvino_conversion.in_eight_bits(converted)
            compiled = self._core.compile_model(candidate.embed, "CPU", self._properties(precision))
            outputs = compiled.create_infer_request().infer(list(candidate.examples))
        except (RuntimeError, ValueError) as error:
            _log.debug("no integers of eight bits: %s", error)
            return None
        answer = Logits(outputs[compiled.output(2)], outputs[compiled.output(3)])
        win, _, loss = (answer.chances - candidate.wdl).T
        error_of_value = float(np.sqrt(np.square(win - loss).mean()))
        if not error_of_value <= _EIGHT_BITS_TOLERANCE:
            _log.debug("no integers of eight bits: the value would be off by %.3f", error_of_value)
            return None
        self._compiled["embed"] = compiled
        return candidate.embed

    def _warm_up(self) -> None:
        """Compute parts of the usual sizes on all streams, so that no clock runs when it happens first."""

        def work(_: int) -> Logits:
            if self._has_retrieval:
                for size in FIXED_SIZES:
                    tokens = self.encode(example_records(size))[0]
                    hidden = self.embed(example_features(size))
                    self.heads(hidden, example_neighbours(self._config, tokens, size))
            for size in sorted({*self._embed_sizes, *WARM_SIZES}, reverse=True):  # down to 1
                answer = self.heads(self.embed(example_features(size)), None)
            return answer

        with ThreadPoolExecutor(self.parts) as workers:
            answers = list(workers.map(work, range(self.parts)))
        for answer in answers:
            error = float(np.abs(answer.chances[0] - self._expected).max())
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

    def _infer_fixed(self, name: str, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run a part that is compiled for FIXED_SIZES, on inputs of B positions or records; -> its outputs."""
        start, found = 0, []
        while start < len(inputs[0]):
            count = min(len(inputs[0]) - start, FIXED_SIZES[-1])
            size = next(size for size in FIXED_SIZES if size >= count)
            outputs = self._infer(_fixed(name, size), _padded([array[start : start + count] for array in inputs], size))
            found.append([output.data[:count].copy() for output in outputs])  # the next run would overwrite them
            start += count
        return [np.concatenate(arrays) for arrays in zip(*found, strict=True)] if len(found) > 1 else found[0]

    def embed(self, features: Features) -> _Hidden:
        """See `Backend.embed`."""
        count = len(features.squares)
        size = padded_size(count)
        name = _fixed("embed", size) if size in self._embed_sizes else "embed"
        outputs = self._infer(name, _padded(features, size))
        tokens, chunks, policy, wdl = (output.data[:count] for output in outputs)
        return _Hidden(tokens, chunks, Logits(policy, wdl))

    def chunk_embeddings(self, hidden: _Hidden) -> NDArray[np.float32]:
        """See `Backend.chunk_embeddings`."""
        return _long(hidden.chunks)

    def take(self, hidden: _Hidden, rows: NDArray[np.intp]) -> _Hidden:
        """See `Backend.take`."""
        alone = Logits(hidden.alone.policy[rows], hidden.alone.wdl[rows])
        return _Hidden(hidden.tokens[rows], hidden.chunks[rows], alone)

    def heads(self, hidden: _Hidden, neighbours: EncodedArrays | None) -> Logits:
        """See `Backend.heads`."""
        if neighbours is None:
            return hidden.alone
        read = neighbours if self._config.interpolation else neighbours[:3]  # a model has only inputs that it uses
        policy, wdl = self._infer_fixed("heads", [_long(hidden.tokens), *read])
        return Logits(policy, wdl)

    def encode(self, records: RecordArrays) -> NDArray[np.float32]:
        """See `Backend.encode`."""
        (tokens,) = self._infer_fixed("encode", records)
        return tokens


def _long(numbers: NDArray[Any]) -> NDArray[np.float32]:
    """Numbers of OpenVINO in float32: numpy takes its bfloat16 for another type of two bytes."""
    if numbers.dtype == np.float32:
        return numbers
    return (numbers.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)


def _fixed(name: str, size: int) -> str:
    """What a part compiled for batches of `size` is called."""
    return f"{name} {size}"


def _padded(arrays: Sequence[NDArray[Any]], size: int) -> list[NDArray[Any]]:
    """The arrays, as long as each other, filled up with zeros to `size`."""
    missing = size - len(arrays[0])
    if not missing:
        return list(arrays)
    return [np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)]) for array in arrays]


def _code_digest() -> str:
    """Of the code that defines the network: compiled from another version of it, it may be another network."""
    state = hashlib.blake2b(digest_size=16)
    here = Path(str(dejavu.model.__file__)).parent
    for path in sorted(path for folder in (".", "backends", "chess") for path in here.glob(f"{folder}/*.py")):
        state.update(path.read_bytes())
    return state.hexdigest()


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1].strip()
