"""Weights files: safetensors with the network's config, fingerprint and checksum in the metadata."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dejavu.model.config import NetworkConfig
from dejavu.model.network import Network

FORMAT = "dejavu-weights-1"
_KEY_PARTS = ("backbone.", "norm.")  # what a memory's keys depend on


class WeightsError(ValueError):
    """A weights file that cannot be used; the message is one sentence naming the file and what is wrong."""


def _digest(tensors: Mapping[str, Tensor]) -> str:
    state = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        state.update(name.encode())
        state.update(tensors[name].detach().contiguous().view(torch.uint8).numpy().data)
    return state.hexdigest()


def fingerprint(network: Network) -> str:
    """Hex digest of the backbone, as stored: a memory built with another one is stale."""
    tensors = network.state_dict()
    return _digest({name: tensors[name] for name in tensors if name.startswith(_KEY_PARTS)})


def save_weights(path: Path, network: nn.Module, config: NetworkConfig, training: Mapping[str, str]) -> None:
    """Write `network` as bfloat16, atomically. `training` says how it came about (command, samples, ...)."""
    tensors = {
        name: value.detach().to("cpu", torch.bfloat16).contiguous() for name, value in network.state_dict().items()
    }
    metadata = {
        "format": FORMAT,
        "config": config.to_json(),
        "retrieval": str(int(any(name.startswith("retrieval.") for name in tensors))),
        "checksum": _digest(tensors),
        **{f"training.{key}": value for key, value in training.items()},
    }
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata)
    os.replace(partial, path)


def load_weights(path: Path) -> tuple[Network, dict[str, str]]:
    """The network of a weights file, in bfloat16 and evaluation mode, and the file's metadata.

    Raises:
        WeightsError: the file is missing, truncated, damaged, or not a Dejavu network.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except FileNotFoundError:
        raise WeightsError(f"weights file {path} does not exist") from None
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"weights file {path} cannot be read: {error}") from None
    if metadata.get("format") != FORMAT:
        raise WeightsError(f"weights file {path} is not a Dejavu network (format {metadata.get('format')!r})")
    if metadata.get("checksum") != _digest(tensors):
        raise WeightsError(f"weights file {path} is damaged: its checksum does not match")
    try:
        config = NetworkConfig.from_json(metadata["config"])
        network = Network(config, retrieval=metadata.get("retrieval") == "1").to(torch.bfloat16)
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"weights file {path} does not fit its own config: {reason}") from None
    return network.eval().requires_grad_(False), metadata
