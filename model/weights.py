"""Weights files: safetensors with the network's config, fingerprint and checksum in the metadata.

Reading one needs no torch: an engine whose backend has the network ready in another form never makes its modules.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, deserialize

from dejavu.model.config import NetworkConfig
from dejavu.model.shapes import misfit
from dejavu.retrieval.atomic import atomic_write
from dejavu.retrieval.text import plain

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dejavu.model.network import Network

FORMAT = "dejavu-weights-3"
_DTYPE = "BF16"  # safetensors' name for what every tensor of a file is stored as
_KEY_PARTS = ("backbone.", "norm.")  # what a memory's keys depend on


class WeightsError(ValueError):
    """A weights file that cannot be used; the message is one sentence naming the file and what is wrong."""


class Weights:
    """What there is to know of a network before it is a torch module, and that module for whoever asks for it."""

    def __init__(
        self,
        config: NetworkConfig,
        has_retrieval: bool,
        parameters: int,
        checksum: str,
        fingerprint: str,
        make: Callable[[], Network],
    ) -> None:
        """`make` makes the network; it is called once, with the first use of `network`."""
        self.config = config
        self.has_retrieval = has_retrieval
        self.parameters = parameters
        """How many."""
        self.checksum = checksum
        """Hex digest of config, retrieval flag and tensors: whatever differs between two networks differs here."""
        self.fingerprint = fingerprint
        """Hex digest of the backbone: a memory built with another one is stale."""
        self._make = make
        self._made: Network | None = None
        self._making = threading.Lock()

    @classmethod
    def of(cls, network: Network) -> Weights:
        """The weights of a network that is there already."""
        tensors = network.state_dict()
        shapes = {name: tuple(value.shape) for name, value in tensors.items()}
        return cls(
            network.config,
            network.retrieval is not None,
            sum(value.numel() for value in network.parameters()),
            _checksum(_description(network.config, network.retrieval is not None), shapes, _bytes_of(tensors)),
            fingerprint(network),
            lambda: network,
        )

    @property
    def network(self) -> Network:
        """The torch modules, which nobody may change. For a file: in bfloat16 and evaluation mode."""
        with self._making:
            if self._made is None:
                self._made = self._make()
            return self._made


def _digest(tensors: Mapping[str, bytes]) -> str:
    state = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        state.update(name.encode())
        state.update(tensors[name])
    return state.hexdigest()


def _description(config: NetworkConfig, has_retrieval: bool) -> dict[str, str]:
    """What a file's metadata say of the network itself."""
    return {"config": config.to_json(), "retrieval": str(int(has_retrieval))}


def _checksum(metadata: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]], tensors: Mapping[str, bytes]) -> str:
    """Hex digest of all that a file says, but for the checksum itself."""
    described = {name: value for name, value in metadata.items() if name != "checksum"}
    state = hashlib.blake2b(digest_size=16)
    state.update(json.dumps([described, shapes], sort_keys=True).encode())
    for name in sorted(tensors):
        state.update(tensors[name])
    return state.hexdigest()


def _backbone_digest(tensors: Mapping[str, bytes]) -> str:
    return _digest({name: data for name, data in tensors.items() if name.startswith(_KEY_PARTS)})


def _bytes_of(tensors: Mapping[str, Tensor]) -> dict[str, bytes]:
    import torch

    return {
        name: value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() for name, value in tensors.items()
    }


def fingerprint(network: Network) -> str:
    """Hex digest of the backbone, as stored: a memory built with another one is stale."""
    return _backbone_digest(_bytes_of(network.state_dict()))


def save_weights(path: Path, network: nn.Module, config: NetworkConfig, training: Mapping[str, str]) -> None:
    """Write `network` as bfloat16, atomically. `training` says how it came about (name, date, command, samples, ...).

    Raises WriteError.
    """
    import torch
    from safetensors.torch import save_file

    tensors = {
        name: value.detach().to("cpu", torch.bfloat16).contiguous() for name, value in network.state_dict().items()
    }
    metadata = {
        "format": FORMAT,
        **_description(config, any(name.startswith("retrieval.") for name in tensors)),
        **{f"training.{key}": value for key, value in training.items()},
    }
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    metadata["checksum"] = _checksum(metadata, shapes, _bytes_of(tensors))
    with atomic_write(path) as file:
        save_file(tensors, file.name, metadata)


def net_name(metadata: Mapping[str, str]) -> str:
    """What a net is called and when it was made, by its file's metadata: "dejavu-10 of 2026-11-26", or empty."""
    name, date = (plain(metadata.get(f"training.{key}", "")) for key in ("name", "date"))
    return f"{name} of {date}" if name and date else name


def read_weights(path: Path) -> tuple[Weights, dict[str, str]]:
    """The weights of a file, checked, and the file's metadata.

    Raises:
        WeightsError: the file is missing, truncated, damaged, not a Dejavu network, or its tensors are not those of
            its config.
    """
    try:
        if path.exists() and not path.is_file():  # reading a device or a pipe need never end
            raise WeightsError(f"weights file {path} is not a file")
        content = path.read_bytes()
        stored: dict[str, dict[str, Any]] = dict(deserialize(content))  # type: ignore[no-untyped-call]
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except FileNotFoundError:
        raise WeightsError(f"weights file {path} does not exist") from None
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"weights file {path} cannot be read: {error}") from None
    metadata: dict[str, str] = header.get("__metadata__") or {}
    if metadata.get("format") != FORMAT:
        raise WeightsError(f"weights file {path} is not a Dejavu network of format {FORMAT}: {metadata.get('format')}")
    tensors = {name: bytes(tensor["data"]) for name, tensor in stored.items()}
    shapes = {name: tuple(tensor["shape"]) for name, tensor in stored.items()}
    checksum = _checksum(metadata, shapes, tensors)
    if metadata.get("checksum") != checksum:
        raise WeightsError(f"weights file {path} is damaged: its checksum does not match")
    if any(tensor["dtype"] != _DTYPE for tensor in stored.values()):
        raise WeightsError(f"weights file {path} is damaged: not all of its tensors are {_DTYPE}")
    try:
        config = NetworkConfig.from_json(metadata.get("config", ""))
    except ValueError as error:
        raise WeightsError(f"weights file {path} has a config that no network can have: {error}") from None
    has_retrieval = metadata.get("retrieval") == "1"
    if problem := misfit(config, has_retrieval, shapes):
        raise WeightsError(f"weights file {path} does not fit its own config: {problem}")

    def make() -> Network:
        return _network(config, has_retrieval, tensors, shapes)

    parameters = sum(math.prod(shape) for shape in shapes.values())
    return Weights(config, has_retrieval, parameters, checksum, _backbone_digest(tensors), make), metadata


def _network(
    config: NetworkConfig, has_retrieval: bool, tensors: Mapping[str, bytes], shapes: Mapping[str, tuple[int, ...]]
) -> Network:
    """The modules with bfloat16 `tensors` in them, which must fit."""
    import torch

    from dejavu.model.network import Network

    network = Network(config, retrieval=has_retrieval).to(torch.bfloat16)
    network.load_state_dict(
        {
            name: torch.frombuffer(bytearray(data), dtype=torch.bfloat16).reshape(shapes[name])
            for name, data in tensors.items()
        }
    )
    return network.eval().requires_grad_(False)


def load_weights(path: Path) -> tuple[Network, dict[str, str]]:
    """The network of a weights file, in bfloat16 and evaluation mode, and the file's metadata.

    Raises:
        WeightsError: the file is missing, truncated, damaged, or not a Dejavu network.
    """
    weights, metadata = read_weights(path)
    return weights.network, metadata
