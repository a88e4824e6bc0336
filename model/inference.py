"""The network at play: packed positions in, evaluations of the legal moves out, with or without memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dejavu.model.backends import AUTO, make_backend
from dejavu.model.backends.protocol import Backend, Logits
from dejavu.model.chess.attacks import Attacks, LegalMoves, Planes, attacks, legal_moves
from dejavu.model.chess.features import Features, features
from dejavu.model.chess.mates import mating_moves
from dejavu.model.config import MEMORY_REACH
from dejavu.model.evaluations import Evaluations
from dejavu.model.neighbours import EncodingCache, Retriever
from dejavu.model.segmented import EXACT_BESIDE, SegmentedRetriever
from dejavu.model.stored_evaluations import StoredEvaluations, StoredEvaluationsError, file_beside, read_columns
from dejavu.model.weights import Weights, net_name, read_weights
from dejavu.retrieval.memory import Memory, MemoryFileError

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
        self.stored: StoredEvaluations | None = None
        """Evaluations of the first memory's own positions that need not be computed."""
        self.warning = ""
        """What is wrong with a file that it can do without."""
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
        if self.stored is not None:
            self.stored.hide([part.memory for part in self._beside])
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
        evaluator = cls(stored, description, opened, threads, backend)
        if memory is not None:
            evaluator._read_stored(file_beside(memory))
        return evaluator

    def _read_stored(self, path: Path) -> None:
        """Use a file of evaluations of the first memory's own positions, if there is one.

        If it cannot be used, `warning` says why; that costs time and nothing else.
        """
        self.stored, self.warning = None, ""
        assert self._own is not None
        try:
            stored = StoredEvaluations(self._own.memory, read_columns(path, self.weights.checksum))
        except FileNotFoundError:
            return
        except StoredEvaluationsError as error:
            self.warning = f"{error}; it is not used"
        except OSError as error:
            self.warning = f"{path} cannot be read: {error.strerror or error}"
        else:
            self.stored = stored if len(stored) else None

    def describe(self) -> str:
        """One line naming the network, the memory and the backend."""
        stored = "" if self.stored is None else f", {len(self.stored):,} of them evaluated beforehand"
        beside = "".join(f", beside it {len(part.memory):,} entries" for part in self._beside)
        return (
            f"{self.network_description}{stored}{beside}, computed by {self.backend.name} in {self.backend.precision}"
        )

    def evaluate(self, planes: Planes, clocks: NDArray[np.uint8], memory: bool = True) -> Evaluations:
        """Evaluate packed positions: planes [B, 4], clock bytes [B]; with the memory, if there is one, or without."""
        sets = attacks(planes)
        legal = legal_moves(planes, sets)
        rows = self._stored_rows(planes, clocks, legal.counts) if memory else np.full(len(planes), -1)
        fresh = rows < 0
        if fresh.all():
            running = self._start(planes, clocks, sets, legal, memory)
        else:
            running = self._start(planes[fresh], clocks[fresh], sets.of(fresh), legal.of(fresh), memory)
        mating = mating_moves(planes, sets, legal)  # meanwhile
        logits, wdl = running()
        if not fresh.all():
            assert self.stored is not None
            of_fresh, known = np.repeat(fresh, legal.counts), rows[~fresh]
            all_logits, all_wdl = np.empty(len(legal.moves), np.float32), np.empty((len(planes), 3), np.float32)
            all_logits[of_fresh], all_logits[~of_fresh] = logits, self.stored.logits(known)
            all_wdl[fresh], all_wdl[~fresh] = wdl, self.stored.wdl(known)
            logits, wdl = all_logits, all_wdl
        return Evaluations(*legal, logits, mating, wdl)

    def _stored_rows(self, planes: Planes, clocks: NDArray[np.uint8], moves: NDArray[np.int64]) -> NDArray[np.int64]:
        """[B] rows of the stored evaluations of positions with so many legal `moves` [B]; -1 where there is none."""
        if self.stored is None or self.memory_reach != MEMORY_REACH:
            return np.full(len(planes), -1)
        rows = self.stored.find(planes, clocks)
        return np.where(self.stored.moves(rows) == moves, rows, -1)

    def _start(
        self,
        planes: Planes,
        clocks: NDArray[np.uint8],
        sets: Attacks,
        legal: LegalMoves,
        memory: bool,
    ) -> Callable[[], tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Begin to compute; what is returned waits for the logits of the legal moves [M] and the chances [B, 3]."""
        if len(planes) == 0:
            return lambda: (np.empty(0, np.float32), np.empty((0, 3), np.float32))
        inputs = features(planes, clocks, sets)
        asked = np.zeros(len(planes), dtype=bool)
        if memory and self.retriever is not None:
            asked = self.retriever.may_know(planes, self.memory_reach)

        def evaluate_part(start: int, end: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            """Of a part of the batch."""
            logits = self._logits(inputs.part(start, end), np.flatnonzero(asked[start:end]))
            own = legal.part(start, end)
            return logits.policy[own.positions(), own.moves], logits.chances

        # Each part runs on one thread: a small network's operations are too short for several threads to share one.
        parts = min(self.backend.parts, len(planes))
        if parts == 1:
            return partial(evaluate_part, 0, len(planes))
        bounds = np.linspace(0, len(planes), parts + 1).astype(int).tolist()
        running = [self._workers.submit(evaluate_part, *part) for part in pairwise(bounds)]

        def wait() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            logits, wdl = zip(*(part.result() for part in running), strict=True)
            return np.concatenate(logits), np.concatenate(wdl)

        return wait

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
