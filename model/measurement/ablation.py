"""Memories that lie: neighbours that do not belong to a position, to see what the right ones are worth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dejavu.model.config import NetworkConfig
from dejavu.model.neighbours import Neighbours, Retriever, look_up
from dejavu.retrieval.memory import Memory


class ShuffledRetriever(Retriever):
    """Gives the positions of a batch each other's neighbours, distances included."""

    may_glance = False

    def __init__(self, config: NetworkConfig, memory: Memory, threads: int, seed: int = 0) -> None:
        """Raises MemoryFileError if the memory does not fit the network."""
        super().__init__(config, memory, threads)
        self._generator = np.random.default_rng(seed)

    def search(self, embeddings: NDArray[np.float32], exclude_game: NDArray[np.int32] | None = None) -> Neighbours:
        """See `Retriever.search`."""
        found = super().search(embeddings, exclude_game)
        return found.take(self._generator.permutation(len(embeddings)))


class RandomRetriever(Retriever):
    """Gives a position entries drawn at random, at the distances of its own neighbours."""

    may_glance = False

    def __init__(self, config: NetworkConfig, memory: Memory, threads: int, seed: int = 0) -> None:
        """Raises MemoryFileError if the memory does not fit the network."""
        super().__init__(config, memory, threads)
        self._generator = np.random.default_rng(seed)

    def search(self, embeddings: NDArray[np.float32], exclude_game: NDArray[np.int32] | None = None) -> Neighbours:
        """See `Retriever.search`."""
        found = super().search(embeddings, exclude_game)
        entries = self._generator.integers(0, len(self.memory), found.entries.shape)
        return look_up(self.memory, np.where(found.entries < 0, -1, entries), found.distances)
