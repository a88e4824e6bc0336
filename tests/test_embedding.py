"""What a memory's keys are made with: the engine's own backend, and the same numbers as torch's within rounding."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.model.backends.torch_backend import TorchBackend
from dejavu.model.chess.features import features
from dejavu.model.inference import EMBEDDED_AT_ONCE, Embedder, load_backbone
from dejavu.model.weights import load_weights
from dejavu.retrieval.memory import Memory

COUNT = 3 * EMBEDDED_AT_ONCE + 5
EXACT = 1000
"""Squared distance in key units up to which docs/history/retrieval.md calls an entry exact."""


@pytest.fixture(scope="module")
def memory() -> Memory:
    path = wanted(Config()).memory
    assert path is not None
    return Memory.open(path)


@pytest.fixture(scope="module")
def rows(memory: Memory) -> NDArray[np.int64]:
    return np.random.default_rng(1).permutation(len(memory))[:COUNT]


@pytest.fixture(scope="module")
def keys(memory: Memory, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    backbone = load_backbone(wanted(Config()).weights, threads=2)
    return keys_by(backbone, memory, rows)


def keys_by(backbone: Embedder, memory: Memory, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return memory.project(backbone.embed_chunks(memory.boards[rows], memory.clocks[rows]))


def squared_distances(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    distances: NDArray[np.float32] = np.square(a - b).sum(axis=(1, 2))
    return distances


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_keys_are_those_of_torch_by_far_less_than_what_counts_as_exact(
    memory: Memory, rows: NDArray[np.int64], keys: NDArray[np.float32], dtype: torch.dtype
) -> None:
    network, _ = load_weights(wanted(Config()).weights)
    backend = TorchBackend(network, torch.device("cpu"), parts=1, dtype=dtype)
    hidden = backend.embed(features(memory.boards[rows], memory.clocks[rows]))
    assert squared_distances(keys, memory.project(backend.chunk_embeddings(hidden))).max() < EXACT / 10


def test_stored_keys_are_met_by_far_less_than_what_counts_as_exact(
    memory: Memory, rows: NDArray[np.int64], keys: NDArray[np.float32]
) -> None:
    assert squared_distances(keys, memory.keys[rows].astype(np.float32)).max() < EXACT / 10


def test_keys_do_not_depend_on_the_threads(memory: Memory, rows: NDArray[np.int64], keys: NDArray[np.float32]) -> None:
    alone = load_backbone(wanted(Config()).weights, threads=1)
    assert np.array_equal(keys_by(alone, memory, rows), keys)


def test_a_backbone_sent_to_another_process_embeds_alike(
    memory: Memory, rows: NDArray[np.int64], keys: NDArray[np.float32]
) -> None:
    backbone = load_backbone(wanted(Config()).weights, threads=2)
    sent = pickle.loads(pickle.dumps(backbone))
    assert sent.fingerprint == backbone.fingerprint
    assert np.array_equal(keys_by(sent, memory, rows), keys)
