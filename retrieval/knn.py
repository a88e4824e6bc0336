"""K nearest neighbours among keys by squared Euclidean distance: exact, and clustered for large memories.

Both indexes answer `search(queries, k, exclude_game)` for any keys [n, D]: the concatenated keys of
positions, or the keys of one chunk. With `exclude_game`, no entry of a query's own game is ever returned: a
position must not find itself, nor the moves that followed it, while the network is trained or measured.

faiss and torch bring an OpenMP runtime each. On Linux these are two separate libraries that leave each other
alone; elsewhere the second one to start aborts or crashes in parallel regions (faiss-wheels issue 73), so
there the second is permitted and faiss kept on one thread.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dejavu.retrieval.memory import KEY_LIMIT, Memory

if sys.platform != "linux":
    os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "TRUE")

import faiss

EXACT_LIMIT = 10_000
"""Up to so many entries the matrix product is about as fast as the clustered index."""

PROBES = 56
"""Clusters searched for a query. For held-out positions they find 0.98 of the shipped memory's 4 nearest entries, 32
find 0.95 and 24 find 0.93."""

NEAR_PROBES = 8
"""Clusters searched where only what lies near a query counts. Of 4,096 held-out positions, 8 find the nearest entry of
all and 4 of all but one, where near is within the engine's MemoryReach."""

_BLOCK_BYTES = 32 * 2**20
_QUERIES_A_BLOCK = 64
_OVERFETCH = 16
_RESULTS_A_PASS = 2**22
_KMEANS_POINTS_A_CENTROID = 48
_ASSIGN_ROWS = 2**16

Keys = NDArray[np.int8] | NDArray[np.float32]
Neighbours = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Squared distances [B, k] and entry numbers [B, k], nearest first; infinity and -1 where there is none."""


class Index(Protocol):
    """What both indexes do."""

    def search(self, queries: NDArray[np.float32], k: int, exclude_game: NDArray[np.int32] | None = None) -> Neighbours:
        """The k nearest entries of every query [B, D]; those of game `exclude_game` [B] are passed over.

        A query that no game is to be excluded for has -1 there.
        """
        ...


class ExactIndex:
    """All distances, by one matrix product a block: |q - x|^2 = |q|^2 - 2 q.x + |x|^2. The reference.

    Keys may lie in a memory map and be int8; they become float32 one block at a time, so that a search needs
    some 32 MiB whatever n and B are.
    """

    def __init__(self, keys: Keys, games: NDArray[np.int32] | None = None) -> None:
        """Index keys [n, D] of the games [n]; without games, none can be excluded."""
        self._keys = keys
        self._games = games
        self._norms = np.empty(len(keys), dtype=np.float32)
        for start, block in self._blocks(queries=0):
            np.einsum("nd,nd->n", block, block, out=self._norms[start : start + len(block)])

    def _blocks(self, queries: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(first entry, keys [m, D]) of block after block, sized so that distances of `queries` fit, too."""
        converted = 0 if self._keys.dtype == np.float32 else self._keys.shape[1]
        rows = max(1, _BLOCK_BYTES // (4 * max(1, converted + queries)))
        for start in range(0, len(self._keys), rows):
            yield start, self._keys[start : start + rows].astype(np.float32, copy=False)

    def search(self, queries: NDArray[np.float32], k: int, exclude_game: NDArray[np.int32] | None = None) -> Neighbours:
        """See `Index.search`. Entries at equal distance come in any order."""
        distances = np.full((len(queries), k), np.inf, dtype=np.float32)
        indices = np.full((len(queries), k), -1, dtype=np.int64)
        for start, block in self._blocks(min(len(queries), _QUERIES_A_BLOCK)):
            for first in range(0, len(queries), _QUERIES_A_BLOCK):
                rows = slice(first, first + _QUERIES_A_BLOCK)
                excluded = None if exclude_game is None else exclude_game[rows]
                found = self._search_block(queries[rows], k, excluded, start, block)
                candidates = np.hstack([distances[rows], found[0]]), np.hstack([indices[rows], found[1]])
                distances[rows], indices[rows] = _nearest(*candidates, k)
        return distances, indices

    def _search_block(
        self,
        queries: NDArray[np.float32],
        k: int,
        excluded: NDArray[np.int32] | None,
        start: int,
        block: NDArray[np.float32],
    ) -> Neighbours:
        """The k nearest, in any order, among `block`, which begins at entry `start`."""
        distances = queries @ block.T
        distances *= -2
        distances += self._norms[start : start + len(block)]
        distances += np.einsum("bd,bd->b", queries, queries)[:, None]
        np.maximum(distances, 0, out=distances)
        if excluded is not None:
            distances[_known(self._games)[start : start + len(block)] == excluded[:, None]] = np.inf
        if k < len(block):
            nearest = np.argpartition(distances, k - 1, axis=1)[:, :k]
        else:
            nearest = np.broadcast_to(np.arange(len(block)), distances.shape)
        distances = np.take_along_axis(distances, nearest, axis=1)
        return distances, np.where(np.isinf(distances), -1, nearest + start)


class ClusteredIndex:
    """An inverted file (faiss IndexIVF) over k-means clusters: searches only those nearest to a query.

    The clusters come with the keys, so that opening copies each cluster's keys next to each other and trains
    nothing. Keys stay int8, and faiss compares them with queries cut to int8, too: for queries as
    `memory.project` makes them, distances to the entries looked at are exact.
    """

    def __init__(
        self,
        keys: NDArray[np.int8],
        centroids: NDArray[np.float32],
        cluster: NDArray[np.uint16],
        games: NDArray[np.int32] | None = None,
        probes: int = PROBES,
        threads: int = 1,
    ) -> None:
        """Index keys [n, D] with centroids [C, D] and the cluster [n] of each key, looking into `probes`."""
        self._games = games
        self._probes = min(probes, len(centroids))
        self._threads = threads
        size = keys.shape[1]
        self._coarse = faiss.IndexFlatL2(size)  # kept: the inverted file holds only a pointer to it
        self._coarse.add(np.ascontiguousarray(centroids))
        # This quantizer stores x + 128 in a byte and has nothing to train.
        code = faiss.ScalarQuantizer.QT_8bit_direct_signed
        self._index = faiss.IndexIVFScalarQuantizer(self._coarse, size, len(centroids), code, faiss.METRIC_L2, False)
        self._index.is_trained = True
        order = np.argsort(cluster, kind="stable").astype(np.int64)
        codes = np.ascontiguousarray(keys)[order].view(np.uint8) ^ np.uint8(128)
        bounds = np.searchsorted(cluster[order], np.arange(len(centroids) + 1)).tolist()
        lists = self._index.invlists
        assert lists is not None
        for number in range(len(centroids)):
            begin, end = bounds[number], bounds[number + 1]
            if begin < end:
                lists.add_entries(
                    number, end - begin, faiss.swig_ptr(order[begin:end]), faiss.swig_ptr(codes[begin:end])
                )
        self._index.ntotal = len(keys)

    def search(self, queries: NDArray[np.float32], k: int, exclude_game: NDArray[np.int32] | None = None) -> Neighbours:
        """See `Index.search`. Approximate, but always k entries if there are k outside the excluded game.

        Entries of the excluded game are fetched and dropped; a query that is left with fewer than k is asked
        again for four times as many entries from four times as many clusters, until all have been seen.
        """
        count, clusters = self._index.ntotal, self._index.nlist
        distances = np.full((len(queries), k), np.inf, dtype=np.float32)
        indices = np.full((len(queries), k), -1, dtype=np.int64)
        fetch = min(count, k if exclude_game is None else k + _OVERFETCH)
        probes = self._probes
        pending = np.arange(len(queries))
        while len(pending):
            for rows in np.array_split(pending, math.ceil(len(pending) * fetch / _RESULTS_A_PASS)):
                found, entries = self._fetch(queries[rows], fetch, probes)
                if exclude_game is not None:
                    entries[_known(self._games)[entries] == exclude_game[rows, None]] = -1
                found[entries < 0] = np.inf
                distances[rows], indices[rows] = _nearest(found, entries, k)
            if fetch == count and probes == clusters:
                break
            pending = pending[indices[pending, -1] < 0]
            fetch, probes = min(4 * fetch, count), min(4 * probes, clusters)
        return distances, indices

    def search_near(self, queries: NDArray[np.float32], k: int) -> Neighbours:
        """The k nearest entries of every query [B, D] in NEAR_PROBES clusters only.

        Right for near entries; a far one may be missed, and a farther one, or none, stand in its place.
        """
        distances, entries = self._fetch(queries, k, min(NEAR_PROBES, self._probes))
        return np.where(entries < 0, np.float32(np.inf), distances), entries

    def _fetch(self, queries: NDArray[np.float32], fetch: int, probes: int) -> Neighbours:
        parameters = faiss.SearchParametersIVF()
        parameters.nprobe = probes
        rounded = np.clip(np.rint(queries), -KEY_LIMIT, KEY_LIMIT)  # faiss would let larger ones wrap around
        with _faiss_threads(self._threads):
            found, entries = self._index.search(np.ascontiguousarray(rounded), fetch, params=parameters)
        return found, entries


class FlatIndex:
    """All distances to keys that stay int8 (faiss IndexScalarQuantizer): exact, and quick for a single query.

    Nothing is trained; what it costs is a copy of the keys.
    """

    def __init__(self, keys: NDArray[np.int8]) -> None:
        """Index keys [n, D]."""
        size = keys.shape[1]
        self._index = faiss.IndexScalarQuantizer(size, faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_L2)
        self._index.is_trained = True
        for start in range(0, len(keys), _ASSIGN_ROWS):
            block = np.ascontiguousarray(keys[start : start + _ASSIGN_ROWS])
            self._index.add_sa_codes(block.view(np.uint8) ^ np.uint8(128))  # it stores x + 128

    def search(self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None) -> Neighbours:
        """The k nearest entries of every query [B, D], of the `allowed` ones [n] where these are given."""
        parameters = None
        if allowed is not None:
            bits = np.packbits(allowed, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(allowed), faiss.swig_ptr(bits))
            parameters = faiss.SearchParameters()
            parameters.sel = selector
        rounded = np.clip(np.rint(queries), -KEY_LIMIT, KEY_LIMIT)
        with _faiss_threads(1):  # threads would share queries, of which there are few
            found, entries = self._index.search(np.ascontiguousarray(rounded), k, params=parameters)
        return np.where(entries < 0, np.float32(np.inf), found), entries


def train_clusters(
    keys: NDArray[np.int8], seed: int = 0, threads: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """K-means of a sample of keys [n, D] -> centroids [C, D], C about 4 sqrt(n); each key's cluster [n]."""
    count = len(keys)
    clusters = min(count, round(4 * math.sqrt(count)), 2**16)
    generator = np.random.default_rng(seed)
    sample = generator.permutation(count)[: clusters * _KMEANS_POINTS_A_CENTROID]
    with _faiss_threads(threads):
        kmeans = faiss.Kmeans(
            keys.shape[1],
            clusters,
            niter=10,
            seed=seed,
            min_points_per_centroid=1,
            max_points_per_centroid=_KMEANS_POINTS_A_CENTROID,
        )
        kmeans.train(keys[np.sort(sample)].astype(np.float32))
        nearest = np.empty(count, dtype=np.uint16)
        for start in range(0, count, _ASSIGN_ROWS):
            block = keys[start : start + _ASSIGN_ROWS].astype(np.float32)
            nearest[start : start + len(block)] = kmeans.index.search(block, 1)[1][:, 0]
    return np.asarray(kmeans.centroids, dtype=np.float32), nearest


def position_index(memory: Memory, threads: int = 1, exact_limit: int | None = None) -> Index:
    """The index of whole positions: exact up to so many entries (EXACT_LIMIT), clustered for a larger memory."""
    if len(memory) <= (EXACT_LIMIT if exact_limit is None else exact_limit):
        return ExactIndex(memory.position_keys.astype(np.float32), memory.game)
    return ClusteredIndex(memory.position_keys, memory.centroids, memory.cluster, memory.game, threads=threads)


def chunk_indexes(memory: Memory, threads: int = 1) -> list[Index]:
    """One index a chunk.

    The file has no clusters of single chunks: those of a large memory are trained here, which takes
    seconds to minutes and is meant for offline work.
    """
    indexes: list[Index] = []
    for chunk in range(memory.keys.shape[1]):
        keys = np.ascontiguousarray(memory.keys[:, chunk])
        if len(memory) <= EXACT_LIMIT:
            indexes.append(ExactIndex(keys.astype(np.float32), memory.game))
        else:
            centroids, cluster = train_clusters(keys, threads=threads)
            indexes.append(ClusteredIndex(keys, centroids, cluster, memory.game, threads=threads))
    return indexes


def recall(found: Neighbours, expected: Neighbours) -> float:
    """Share of the `expected` neighbours [B, k] that an approximate search found, ties counted as found.

    An entry counts if it is no farther than the k-th expected one; whole-number distances make this exact.
    """
    limit = expected[0].max(axis=1, keepdims=True, where=np.isfinite(expected[0]), initial=-1)
    wanted = np.isfinite(expected[0]).sum()
    return float((found[0] <= limit).sum() / wanted) if wanted else 1.0


def _known(games: NDArray[np.int32] | None) -> NDArray[np.int32]:
    if games is None:
        raise ValueError("this index was built without games, so none can be excluded")
    return games


def _nearest(distances: NDArray[np.float32], indices: NDArray[np.int64], k: int) -> Neighbours:
    """Sort candidates [B, m] by distance and cut to [B, k], filling up with missing ones."""
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    fill = ((0, 0), (0, k - order.shape[1]))
    return (
        np.pad(np.take_along_axis(distances, order, axis=1), fill, constant_values=np.inf),
        np.pad(np.take_along_axis(indices, order, axis=1), fill, constant_values=-1),
    )


@contextmanager
def _faiss_threads(threads: int) -> Iterator[None]:
    """Run faiss on `threads` threads, and leave the setting as it was.

    The setting belongs to the calling thread's OpenMP runtime, which other libraries may share.
    """
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads if sys.platform == "linux" else 1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
