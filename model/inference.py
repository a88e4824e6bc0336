"""The network at play: packed positions in, evaluations of the legal moves out, with or without memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dejavu.model.attacks import Planes, attacks, legal_mask
from dejavu.model.backbone import as_inputs
from dejavu.model.evaluations import Evaluations, join
from dejavu.model.explanation import Explanation, NeighbourDescription, explain
from dejavu.model.features import features
from dejavu.model.mates import mating_moves
from dejavu.model.neighbours import EncodingCache, Retriever
from dejavu.model.network import Network
from dejavu.model.weights import fingerprint, load_weights
from dejavu.retrieval.memory import Memory, MemoryFileError

SMALLEST_PART = 4
"""A batch is cut for several threads into parts of at least so many positions. Each part runs on one thread: the
operations of a small network are too short for several threads to share one."""

_CPU = torch.device("cpu")

CACHED_ENCODINGS = 16384
"""Encoded neighbours kept: some 70 MB for a neighbour width of 128."""


def native_dtype() -> torch.dtype:
    """bfloat16 where the processor multiplies it, else float32 (emulated bfloat16 is slower than that)."""
    capable = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if capable else torch.float32


class Embedder:
    """The frozen backbone alone: positions -> chunk embeddings. What a memory is built with."""

    def __init__(self, network: Network) -> None:
        self.fingerprint = fingerprint(network)
        self.network = network.to(native_dtype())

    def embed_chunks(self, planes: Planes, clocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        """planes [B, 4], clocks [B] -> [B, l, m * d]."""
        inputs = as_inputs(features(planes, clocks), _CPU)
        with torch.inference_mode():
            embeddings = self.network.chunk_embeddings(self.network.backbone(inputs))
        return embeddings.float().numpy()


def load_backbone(weights: Path) -> Embedder:
    """Raises WeightsError."""
    network, _ = load_weights(weights)
    return Embedder(network)


class NetworkEvaluator:
    """Evaluates batches of positions. Not to be called from two threads at once."""

    def __init__(self, network: Network, description: str, memory: Memory | None, threads: int) -> None:
        """Raises MemoryFileError if the memory does not fit the network."""
        self.threads = threads
        self._workers = ThreadPoolExecutor(threads)
        self._encoding = threading.Lock()
        self.network = network.to(native_dtype())
        self.description = description
        self.retriever: Retriever | None = None
        self.encodings: EncodingCache | None = None
        if memory is not None:
            if network.retrieval is None:
                raise MemoryFileError("the weights have no retrieval part, so a memory is of no use to them")
            self.retriever = Retriever(network.config, memory, threads=1)
            self.encodings = EncodingCache(network.retrieval.encoder, memory, CACHED_ENCODINGS)
        self.use_memory = self.retriever is not None

    @classmethod
    def load(cls, weights: Path, memory: Path | None, threads: int) -> NetworkEvaluator:
        """Load a weights file and, if one is given, a memory that was built with its backbone.

        Raises:
            WeightsError: the weights file cannot be used.
            MemoryFileError: the memory cannot be used, or not with these weights.
        """
        network, _ = load_weights(weights)
        opened = None if memory is None else Memory.open(memory, fingerprint(network))
        millions = sum(value.numel() for value in network.parameters()) / 1e6
        description = f"network {weights.name} ({millions:.1f} M parameters)"
        if opened is not None and memory is not None:
            description += f", memory {memory.name} ({len(opened):,} entries)"
        return cls(network, description, opened, threads)

    def describe(self) -> str:
        """One line naming the network and the memory."""
        return self.description

    def evaluate(self, planes: Planes, clocks: NDArray[np.uint8]) -> Evaluations:
        """Evaluate packed positions: planes [B, 4], clock bytes [B]."""
        parts = min(self.threads, max(1, len(planes) // SMALLEST_PART))
        if parts == 1:
            return self._evaluate(planes, clocks)
        pairs = zip(np.array_split(planes, parts), np.array_split(clocks, parts), strict=True)
        return join(list(self._workers.map(lambda pair: self._evaluate(*pair), pairs)))

    def _evaluate(self, planes: Planes, clocks: NDArray[np.uint8]) -> Evaluations:
        """Evaluate a part of a batch, on the calling thread alone."""
        if torch.get_num_threads() != 1:  # a setting of the calling thread
            torch.set_num_threads(1)
        sets = attacks(planes)
        legal = legal_mask(planes, sets)
        position, moves = np.nonzero(legal)
        inputs = as_inputs(features(planes, clocks, sets), _CPU)
        with torch.inference_mode():
            hidden = self.network.backbone(inputs)
            encoded = None
            if self.use_memory and self.retriever is not None and self.encodings is not None:
                embeddings = self.network.chunk_embeddings(hidden).float().numpy()
                found = self.retriever.search(embeddings)
                with self._encoding:
                    encoded = self.encodings.encode(found)
            outputs = self.network.heads(hidden, encoded)
            logits = outputs.policy[torch.from_numpy(position), torch.from_numpy(moves)].float().numpy()
            wdl = outputs.wdl.float().softmax(dim=1).numpy()
        return Evaluations(
            offsets=np.searchsorted(position, np.arange(len(planes) + 1)),
            moves=moves.astype(np.uint16),
            logits=logits,
            mating=mating_moves(planes, sets, legal),
            wdl=wdl,
        )

    def explain(self, planes: Planes, clocks: NDArray[np.uint8]) -> Explanation | None:
        """What the memory does to one position (planes [1, 4], clocks [1]); None without a memory."""
        return None if self.retriever is None else explain(self.network, self.retriever, planes, clocks)

    def neighbours(self, planes: Planes, clocks: NDArray[np.uint8]) -> Sequence[NeighbourDescription]:
        """The neighbours of one position (planes [1, 4], clocks [1]), nearest first; none without a memory."""
        explanation = self.explain(planes, clocks)
        return () if explanation is None else explanation.neighbours
