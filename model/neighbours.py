"""From a memory to the neighbours a network attends: search, records, encodings.

B positions, l chunks, k neighbours, r tokens an encoded neighbour, c neighbour width. L = l searches a position
where every chunk has its own neighbours, L = 1 where all chunks share the position's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dejavu.model.chess.features import features
from dejavu.model.chess.structure import signatures
from dejavu.model.config import MEMORY_REACH, NetworkConfig
from dejavu.retrieval.knn import EXACT_LIMIT, ClusteredIndex, Index, chunk_indexes, position_index
from dejavu.retrieval.memory import Memory, MemoryFileError
from dejavu.retrieval.moves import NO_MOVE
from dejavu.retrieval.segments import Entries

if TYPE_CHECKING:
    from torch import Tensor

    from dejavu.model.chunked_cross_attention import EncodedNeighbours
    from dejavu.model.neighbour_encoder import Records

_ABSENT_DISTANCE = 0.0

Found = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Entry numbers [B, L, k], nearest first, -1 where there is none; their squared distances."""


class Neighbours(NamedTuple):
    """Entries of a memory that lie near B positions."""

    entries: NDArray[np.int64]
    """[B, L, k] entry numbers, nearest first; -1 where there is none."""
    distances: NDArray[np.float32]
    """[B, L, k] squared distances between keys; 0 where there is none."""
    moves: NDArray[np.uint16]
    """[B, L, k] policy index of the move played from there, NO_MOVE where there is none."""
    wdl: NDArray[np.uint8]
    """[B, L, k, 3] win, draw, loss in 255ths."""

    def within(self, reach: float) -> NDArray[np.bool_]:
        """[B] whether a position has a neighbour at most so far away (squared distance)."""
        return np.asarray(((self.entries >= 0) & (self.distances <= reach)).any(axis=(1, 2)))

    def take(self, rows: NDArray[np.int64]) -> Neighbours:
        """A copy of the neighbours of some of the positions."""
        return Neighbours(self.entries[rows], self.distances[rows], self.moves[rows], self.wdl[rows])


class Retriever:
    """Finds the neighbours that a network's config asks for."""

    may_glance = True
    """Whether `search_within` may look into a few clusters instead of asking `search`, which a subclass may change."""

    def __init__(self, config: NetworkConfig, memory: Memory, threads: int, exact_limit: int = EXACT_LIMIT) -> None:
        """A memory of more entries than `exact_limit` is searched by its clusters.

        Raises MemoryFileError if the memory's keys are not cut as the network's chunks are."""
        chunks, embedding, _ = memory.key_projection.shape
        if (chunks, embedding) != (config.chunks, config.chunk_size * config.width):
            raise MemoryFileError(
                f"memory has {chunks} chunks of {embedding} numbers, the network {config.chunks} chunks of "
                f"{config.chunk_size * config.width}"
            )
        self.memory = memory
        self.entries: Entries = memory
        """What the numbers of found entries mean."""
        self.k = config.neighbours
        self.by_chunk = config.retrieve_by == "chunk"
        self.indexes: list[Index] = (
            chunk_indexes(memory, threads) if self.by_chunk else [position_index(memory, threads, exact_limit)]
        )
        self._signatures = np.sort(signatures(memory.boards))  # which is far faster than unique

    def may_know(self, planes: NDArray[np.uint64], reach: float) -> NDArray[np.bool_]:
        """[B] which packed positions [B, 4] are worth a search for neighbours within `reach`.

        Up to MEMORY_REACH those with the pawns and the pieces of some entry, which is far cheaper to see than where the
        nearest key lies. Every remembered position is among them; what is near and has others changes nothing that can
        be measured (docs/history/search.md).
        """
        if self.by_chunk or not self.may_glance or reach > MEMORY_REACH:
            return np.ones(len(planes), dtype=bool)
        asked = signatures(planes)
        index = np.minimum(np.searchsorted(self._signatures, asked), len(self._signatures) - 1)
        return np.asarray(self._signatures[index] == asked)

    def search(self, embeddings: NDArray[np.float32], exclude_game: NDArray[np.int32] | None = None) -> Neighbours:
        """Neighbours for chunk embeddings [B, l, m * d]; never from a position's own game `exclude_game` [B]."""
        return look_up(self.entries, *self._find(embeddings, exclude_game))

    def search_within(self, embeddings: NDArray[np.float32], reach: float) -> tuple[NDArray[np.intp], Neighbours]:
        """Which of B positions have a neighbour within `reach` (squared distance), and the neighbours of those.

        Chunk embeddings [B, l, m * d] -> rows [N] in order, and the neighbours of these N positions.
        """
        if not self.may_glance:
            found = self.search(embeddings)
            near = np.flatnonzero(found.within(reach))
            return near, found.take(near)
        entries, distances = self._glance(embeddings, reach)
        near = np.flatnonzero(((entries >= 0) & (distances <= reach)).any(axis=(1, 2)))
        return near, look_up(self.entries, entries[near], distances[near])

    def _find(self, embeddings: NDArray[np.float32], exclude_game: NDArray[np.int32] | None) -> Found:
        return self.find_keys(self.memory.project(embeddings), exclude_game)

    def _glance(self, embeddings: NDArray[np.float32], reach: float) -> Found:
        return self.glance_keys(self.memory.project(embeddings), reach)

    def find_keys(self, keys: NDArray[np.float32], exclude_game: NDArray[np.int32] | None = None) -> Found:
        """The nearest entries [B, L, k] of chunk keys [B, l, c], and their distances; see `search`."""
        queries = keys.transpose(1, 0, 2) if self.by_chunk else self._joined(keys)[None]  # [L, B, D]
        found = [
            index.search(np.ascontiguousarray(query), self.k, exclude_game)
            for index, query in zip(self.indexes, queries, strict=True)
        ]
        return np.stack([entry for _, entry in found], axis=1), np.stack([distance for distance, _ in found], axis=1)

    def glance_keys(self, keys: NDArray[np.float32], reach: float) -> Found:
        """The same, right where an entry lies within `reach`; elsewhere some may be missed."""
        index = self.indexes[0]
        if self.by_chunk or reach > MEMORY_REACH or not isinstance(index, ClusteredIndex):
            return self.find_keys(keys)
        # Most positions have no near entry, and those beside a near one hardly count.
        distances, entries = index.search_near(self._joined(keys), self.k)
        return entries[:, None], distances[:, None]

    @staticmethod
    def _joined(keys: NDArray[np.float32]) -> NDArray[np.float32]:
        """Chunk keys [B, l, c] -> position keys [B, l * c], of no position, too."""
        return keys.reshape(len(keys), keys.shape[1] * keys.shape[2])


def look_up(memory: Entries, entries: NDArray[np.int64], distances: NDArray[np.float32]) -> Neighbours:
    """The neighbours that a search found: entries [B, L, k], -1 where there is none, and their distances."""
    absent, known = entries < 0, np.maximum(entries, 0)
    return Neighbours(
        entries,
        np.where(absent, _ABSENT_DISTANCE, distances).astype(np.float32),
        np.where(absent, np.uint16(NO_MOVE), memory.continuations[known][..., 0]),
        memory.wdl[known],
    )


class RecordArrays(NamedTuple):
    """Records of the memory, for the neighbour encoder: what `Records` are as tensors."""

    squares: NDArray[np.uint8]
    """[N, F, 64]"""
    clocks: NDArray[np.float32]
    """[N, G]"""
    continuations: NDArray[np.int64]
    """[N, T]"""
    wdl: NDArray[np.float32]
    """[N, 3]"""


class EncodedArrays(NamedTuple):
    """The encoded neighbours of B positions, for the heads: what `EncodedNeighbours` are as tensors."""

    tokens: NDArray[np.float32]
    """[B, L, k, r, c]"""
    distances: NDArray[np.float32]
    """[B, L, k]"""
    present: NDArray[np.bool_]
    """[B, L, k]"""
    moves: NDArray[np.int64]
    """[B, L, k]"""
    wdl: NDArray[np.float32]
    """[B, L, k, 3]"""


def record_arrays(memory: Entries, entries: NDArray[np.int64]) -> RecordArrays:
    """The records of `entries` [N]."""
    inputs = features(memory.boards[entries], memory.clocks[entries])
    continuations = memory.continuations[entries].astype(np.int64)
    return RecordArrays(
        inputs.squares, inputs.clocks, continuations, memory.wdl[entries].astype(np.float32) / np.float32(255)
    )


def encoded_arrays(tokens: NDArray[np.float32], neighbours: Neighbours) -> EncodedArrays:
    """The encodings [B, L, k, r, c] of the neighbours beside what else the heads read of them."""
    return EncodedArrays(
        tokens,
        neighbours.distances,
        neighbours.entries >= 0,
        neighbours.moves.astype(np.int64),
        neighbours.wdl.astype(np.float32) / np.float32(255),
    )


# The same as tensors, for training and explanations. Torch is imported there: playing may do without it.


def read_records(memory: Entries, entries: NDArray[np.int64]) -> Records:
    """The records of `entries` [N], as tensors."""
    import torch

    from dejavu.model.neighbour_encoder import Records

    return Records(*(torch.from_numpy(array) for array in record_arrays(memory, entries)))


def arrange(tokens: Tensor, slots: Tensor, neighbours: Neighbours) -> EncodedNeighbours:
    """Encodings [U, r, c] of distinct entries, and the slot of each neighbour's, slots [B, L, k] -> E."""
    import torch

    from dejavu.model.chunked_cross_attention import EncodedNeighbours

    _, *others = encoded_arrays(np.empty(0, np.float32), neighbours)
    arranged = tokens[slots.to(tokens.device)]
    return EncodedNeighbours(arranged, *(torch.from_numpy(array).to(tokens.device) for array in others))


class EncodingCache:
    """Encodings of the entries met last: in one search the same neighbours come back again and again.

    Several threads may encode at once; an entry that two of them miss at the same time is encoded twice.
    """

    def __init__(self, encoder: Callable[[RecordArrays], NDArray[np.float32]], memory: Entries, capacity: int) -> None:
        self.encoder = encoder
        self.memory = memory
        self.capacity = capacity
        self.slot_of: dict[int, int] = {}
        shape = encoder(record_arrays(memory, np.zeros(1, np.int64))).shape[1:]
        # Not `zeros`, whose memory is taken bit by bit later.
        self.tokens = np.full((capacity, *shape), 0.0, np.float32)
        """[capacity, r, c]"""
        self._changing = threading.Lock()

    def encode(self, neighbours: Neighbours) -> EncodedArrays:
        """E for `neighbours`, encoding only the entries that are not kept."""
        wanted, inverse = np.unique(neighbours.entries, return_inverse=True)
        absent = int(wanted[0] < 0)
        entries = wanted[absent:].tolist()
        if len(entries) > self.capacity:
            encoded = self.encoder(record_arrays(self.memory, wanted[absent:]))
            where = (np.maximum(np.arange(len(wanted)) - absent, 0))[inverse.reshape(neighbours.entries.shape)]
            return encoded_arrays(encoded[where], neighbours)
        while True:
            missing = [entry for entry in entries if entry not in self.slot_of]
            if missing:
                self._fill(missing)
            with self._changing:
                slots = [self.slot_of.get(entry) for entry in entries]
                if None not in slots:  # another thread has not begun anew meanwhile
                    where = np.array([0] * absent + slots)[inverse.reshape(neighbours.entries.shape)]
                    return encoded_arrays(self.tokens[where], neighbours)

    def _fill(self, entries: list[int]) -> None:
        encoded = self.encoder(record_arrays(self.memory, np.array(entries)))
        with self._changing:
            if len(self.slot_of) + len(entries) > self.capacity:
                self.slot_of.clear()
            fresh = [number for number, entry in enumerate(entries) if entry not in self.slot_of]
            start = len(self.slot_of)
            self.tokens[start : start + len(fresh)] = encoded[fresh]
            self.slot_of.update((entries[number], slot) for slot, number in enumerate(fresh, start))
