"""The network at play: packed positions in, evaluations of the legal moves out, with or without memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dejavu.model.backends import AUTO, make_backend
from dejavu.model.backends.protocol import Backend, Logits
from dejavu.model.chess.attacks import Planes, attacks, legal_mask
from dejavu.model.chess.features import Features, features
from dejavu.model.chess.mates import mating_moves
from dejavu.model.config import MEMORY_REACH
from dejavu.model.evaluations import Evaluations
from dejavu.model.neighbours import EncodingCache, Retriever
from dejavu.model.segmented import EXACT_BESIDE, SegmentedRetriever
from dejavu.model.weights import Weights, net_name, read_weights
from dejavu.retrieval.memory import Memory, MemoryFileError
from dejavu.retrieval.moves import POLICY_SIZE

if TYPE_CHECKING:
    import chess

    from dejavu.model.explanation import Explanation, NeighbourDescription
    from dejavu.model.network import Network
    from dejavu.model.similar import Similar, SimilarPositions

CACHED_ENCODINGS = 4096
"""Encoded neighbours kept: 18 MB for a neighbour width of 64. A search of 12,000 nodes asks for some 800."""


EMBEDDED_AT_ONCE = 32
"""Positions that a thread embeds at once: so few stay in a core's cache. The number never depends on that of the
threads, so that a memory comes out the same with any."""


class Embedder:
    """The frozen backbone alone: positions -> chunk embeddings. What a memory is built with.

    Pickled, for a machine of a cluster, it is the network, which is made ready again where it arrives.
    """

    def __init__(self, weights: Weights, threads: int) -> None:
        self.fingerprint = weights.fingerprint
        self._weights = weights
        self._threads = threads
        self._backend = make_backend(AUTO, weights, threads)
        self._workers = ThreadPoolExecutor(self._backend.parts)

    def __reduce__(self) -> tuple[Callable[[Network, int], Embedder], tuple[Network, int]]:
        return _embedder_of, (self._weights.network, self._threads)

    def embed_chunks(self, planes: Planes, clocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        """planes [B, 4], clocks [B] -> [B, l, m * d]."""
        config, inputs = self._weights.config, features(planes, clocks)
        embeddings = np.empty((len(planes), config.chunks, config.chunk_size * config.width), np.float32)

        def embed(start: int) -> None:
            end = min(start + EMBEDDED_AT_ONCE, len(planes))
            embeddings[start:end] = self._backend.chunk_embeddings(self._backend.embed(inputs.part(start, end)))

        list(self._workers.map(embed, range(0, len(planes), EMBEDDED_AT_ONCE)))
        return embeddings


def _embedder_of(network: Network, threads: int) -> Embedder:
    return Embedder(Weights.of(network), threads)


def load_backbone(weights: Path, threads: int = 1) -> Embedder:
    """Raises WeightsError."""
    return Embedder(read_weights(weights)[0], threads)


class NetworkEvaluator:
    """Evaluates batches of positions. Not to be called from two threads at once."""

    def __init__(self, weights: Weights, description: str, memory: Memory | None, threads: int, backend: str) -> None:
        """`backend` is one of `backends.CHOICES`.

        Raises:
            MemoryFileError: the memory does not fit the network.
            BackendError: the backend cannot be used.
        """
        self.retriever: Retriever | None = None
        self._own: Retriever | None = None
        """Of the memory that was loaded with the network."""
        self._beside: list[Retriever] = []
        """Of the memories put beside it."""
        self._similar: SimilarPositions | None = None
        self.encodings: EncodingCache | None = None
        if memory is not None:
            if not weights.has_retrieval:
                raise MemoryFileError("the weights have no retrieval part, so a memory is of no use to them")
            self.retriever = self._own = Retriever(weights.config, memory, threads=1)
        self.weights = weights
        self.network_description = description
        self.use_backend(make_backend(backend, weights, threads))
        self.memory_reach: float = MEMORY_REACH
        """Squared distance in key units; a position without a neighbour within it is evaluated without the memory."""

    def use_backend(self, backend: Backend) -> None:
        """Let another backend of the same network compute from now on."""
        self.backend = backend
        if self.retriever is not None:
            self.encodings = EncodingCache(backend.encode, self.retriever.entries, CACHED_ENCODINGS)
        self._workers = ThreadPoolExecutor(backend.parts)

    @property
    def fingerprint(self) -> str:
        """The name of the backbone that must have made the keys of a memory."""
        return self.weights.fingerprint

    @property
    def memories(self) -> Sequence[Memory]:
        """All memories that are asked, in order."""
        return [part.memory for part in (self._own, *self._beside) if part is not None]

    def put_beside(self, memories: Sequence[Memory]) -> None:
        """Ask these memories, too, from now on, instead of those put there before; see `SegmentedRetriever`.

        What is kept of evaluations is out of date then. Raises MemoryFileError if one does not fit the network.
        """
        if memories and not self.weights.has_retrieval:
            raise MemoryFileError("the weights have no retrieval part, so a memory is of no use to them")
        ready = {id(part.memory): part for part in self._beside}
        self._beside = [
            ready.get(id(memory)) or Retriever(self.weights.config, memory, 1, EXACT_BESIDE) for memory in memories
        ]
        parts = [part for part in (self._own, *self._beside) if part is not None]
        self.retriever = SegmentedRetriever(self.weights.config, parts) if len(parts) > 1 else next(iter(parts), None)
        self._similar = None
        self.encodings = None
        if self.retriever is not None:
            self.encodings = EncodingCache(self.backend.encode, self.retriever.entries, CACHED_ENCODINGS)

    @classmethod
    def load(cls, weights: Path, memory: Path | None, threads: int, backend: str = AUTO) -> NetworkEvaluator:
        """Load a weights file and, if one is given, a memory that was built with its backbone.

        Raises:
            WeightsError: the weights file cannot be used.
            MemoryFileError: the memory cannot be used, or not with these weights.
            BackendError: the backend cannot be used.
        """
        stored, metadata = read_weights(weights)
        opened = None if memory is None else Memory.open(memory, stored.fingerprint)
        description = f"network {net_name(metadata) or weights.name} ({stored.parameters / 1e6:.1f} M parameters)"
        if opened is not None and memory is not None:
            description += f", memory {memory.name} ({len(opened):,} entries)"
        return cls(stored, description, opened, threads, backend)

    def describe(self) -> str:
        """One line naming the network, the memory and the backend."""
        beside = "".join(f", beside it {len(part.memory):,} entries" for part in self._beside)
        return f"{self.network_description}{beside}, computed by {self.backend.name} in {self.backend.precision}"

    def evaluate(self, planes: Planes, clocks: NDArray[np.uint8], memory: bool = True) -> Evaluations:
        """Evaluate packed positions: planes [B, 4], clock bytes [B]; with the memory, if there is one, or without."""
        # Chess is a matter of many short numpy calls, which cost as much for a part of a batch as for all of it, and
        # hold the lock that other threads wait for; so the threads share the network alone.
        sets = attacks(planes)
        legal = legal_mask(planes, sets)
        position, moves = np.divmod(np.flatnonzero(legal), POLICY_SIZE)  # eight times as fast as nonzero in 2-D
        offsets = np.searchsorted(position, np.arange(len(planes) + 1))
        inputs = features(planes, clocks, sets)
        asked = np.zeros(len(planes), dtype=bool)
        if memory and self.retriever is not None:
            asked = self.retriever.may_know(planes, self.memory_reach)

        def evaluate_part(start: int, end: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            """The logits of the legal moves [M] and the chances [N, 3] of a part of the batch."""
            logits = self._logits(inputs.part(start, end), np.flatnonzero(asked[start:end]))
            own = slice(offsets[start], offsets[end])
            return logits.policy[position[own] - start, moves[own]], _softmax(logits.wdl)

        # Each part runs on one thread: a small network's operations are too short for several threads to share one.
        parts = min(self.backend.parts, max(1, len(planes)))
        if parts == 1:
            evaluated = [evaluate_part(0, len(planes))]
            mating = mating_moves(planes, sets, legal)
        else:
            bounds = np.linspace(0, len(planes), parts + 1).astype(int).tolist()
            running = [self._workers.submit(evaluate_part, *part) for part in pairwise(bounds)]
            mating = mating_moves(planes, sets, legal)  # meanwhile
            evaluated = [part.result() for part in running]
        logits, wdl = (np.concatenate(arrays) for arrays in zip(*evaluated, strict=True))
        return Evaluations(offsets, moves.astype(np.uint16), logits, mating, wdl)

    def _logits(self, inputs: Features, asked: NDArray[np.intp]) -> Logits:
        """What the network says of B positions; of the rows `asked`, with neighbours that are within reach."""
        hidden, count = self.backend.embed(inputs), len(inputs.squares)
        if len(asked) == 0:
            return self.backend.heads(hidden, None)
        assert self.retriever is not None
        assert self.encodings is not None
        embeddings = self.backend.chunk_embeddings(hidden)[asked]
        rows, found = self.retriever.search_within(embeddings, self.memory_reach)
        near = asked[rows]
        if len(near) == 0:
            return self.backend.heads(hidden, None)
        neighbours = self.encodings.encode(found)
        if len(near) == count:
            return self.backend.heads(hidden, neighbours)
        alone = self.backend.heads(hidden, None)
        logits = Logits(alone.policy.copy(), alone.wdl.copy())
        logits.policy[near], logits.wdl[near] = self.backend.heads(self.backend.take(hidden, near), neighbours)
        return logits

    def embeddings(self, planes: Planes, clocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Chunk embeddings [B, l, m * d] of positions: planes [B, 4], clocks [B]."""
        return self.backend.chunk_embeddings(self.backend.embed(features(planes, clocks))).copy()

    def another_embedder(self) -> Callable[[Planes, NDArray[np.uint8]], NDArray[np.float32]]:
        """`embeddings` for another thread; takes a backend of its own."""
        return Embedder(self.weights, 1).embed_chunks

    def explain(self, planes: Planes, clocks: NDArray[np.uint8]) -> Explanation | None:
        """What the memory does to one position (planes [1, 4], clocks [1]); None without a memory.

        Asked for the first time, it may import torch, which takes seconds.
        """
        if self.retriever is None:
            return None
        from dejavu.model.explanation import explain

        return explain(self.weights.network, self.retriever, planes, clocks, self.memory_reach)

    def neighbours(self, planes: Planes, clocks: NDArray[np.uint8]) -> Sequence[NeighbourDescription]:
        """The neighbours of one position (planes [1, 4], clocks [1]), by chunk, nearest first.

        Without a memory there are none.
        """
        explanation = self.explain(planes, clocks)
        return () if explanation is None else explanation.neighbours

    def similar(self, board: chess.Board, clock: int, count: int) -> Sequence[Similar]:
        """The remembered positions most like `board` with its clock byte, no two of one game.

        Without a memory there are none. The first time costs a copy of the keys.
        """
        if self.retriever is None:
            return ()
        if self._similar is None:
            from dejavu.model.similar import SimilarPositions

            self._similar = SimilarPositions(self.memories, self.embeddings)
        return self._similar.find(board, clock, count)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = weights / weights.sum(axis=1, keepdims=True)
    return probabilities
