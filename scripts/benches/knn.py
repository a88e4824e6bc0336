"""The comparison of the article "Retrieval Transformer Enhanced Reinforcement Learning": one query for the nearest of n
embeddings of 20 x 20 numbers, row by row against one matrix product. The article measured 33 s row by row (`apply`) and
14.5 s for its matrix version at 500,000 embeddings. Beside it, the clustered index on keys like those of a memory."""

from __future__ import annotations

import heapq
import os
import statistics
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benches.common import REPEATS, timed
from dejavu.retrieval.knn import ClusteredIndex, ExactIndex, Neighbours, recall, train_clusters
from dejavu.retrieval.memory import KEY_LIMIT

ARTICLE_ENTRIES = (20, 20_000, 500_000)
ARTICLE_NUMBERS = 20 * 20
ARTICLE_MATRIX_MS = 14_500.0
ARTICLE_ROWS_MS = 33_000.0
NEIGHBOURS = 4

CLUSTERED_ENTRIES = 150_000
CLUSTERED_NUMBERS = 96
ENTRIES_A_GROUP = 50
"""Positions of one opening or game lie close together: the made-up keys come in groups of so many."""
CLUSTERED_QUERIES = 512


def loop_search(keys: NDArray[np.float32], query: NDArray[np.float32], k: int) -> list[int]:
    """The k rows of `keys` [n, D] nearest to `query` [D], measuring one row after the other."""
    distances = ((float(np.sum((row - query) ** 2)), number) for number, row in enumerate(keys))
    return [number for _, number in heapq.nsmallest(k, distances)]


@dataclass(frozen=True)
class Comparison:
    """One query by both methods; times in milliseconds."""

    entries: int
    loop_ms: float
    matrix_ms: float
    """Median; the index has been made before (it sums the squares of every row once)."""
    matrix_prepare_ms: float
    same_neighbours: bool

    @property
    def ratio(self) -> float:
        """How many times as fast the matrix product is."""
        return self.loop_ms / self.matrix_ms


def compare(entries: int, generator: np.random.Generator) -> Comparison:
    """The article's comparison at one size."""
    keys = generator.standard_normal((entries, ARTICLE_NUMBERS), dtype=np.float32)
    query = generator.standard_normal((1, ARTICLE_NUMBERS), dtype=np.float32)
    prepare_ms, index = timed(lambda: ExactIndex(keys))
    runs = [timed(lambda: index.search(query, NEIGHBOURS)) for _ in range(REPEATS)]
    loop_ms, expected = timed(lambda: loop_search(keys, query[0], NEIGHBOURS))
    return Comparison(
        entries=entries,
        loop_ms=loop_ms,
        matrix_ms=statistics.median(milliseconds for milliseconds, _ in runs),
        matrix_prepare_ms=prepare_ms,
        same_neighbours=all(found[1][0].tolist() == expected for _, found in runs),
    )


def grouped_keys(entries: int, numbers: int, generator: np.random.Generator) -> NDArray[np.int8]:
    """Keys [n, D] in groups around random centres, as positions of games and openings are."""
    groups = -(-entries // ENTRIES_A_GROUP)
    centres = generator.normal(scale=25, size=(groups, numbers)).repeat(ENTRIES_A_GROUP, axis=0)[:entries]
    keys = np.rint(centres + generator.normal(scale=10, size=centres.shape))
    return np.clip(keys, -KEY_LIMIT, KEY_LIMIT).astype(np.int8)


def measure_clustered(generator: np.random.Generator) -> dict[str, float]:
    """The clustered index against the exact one: recall, times, and what opening it costs."""
    keys = grouped_keys(CLUSTERED_ENTRIES, CLUSTERED_NUMBERS, generator)
    noise = generator.normal(scale=10, size=(CLUSTERED_QUERIES, CLUSTERED_NUMBERS))
    queries = np.rint(keys[generator.permutation(len(keys))[:CLUSTERED_QUERIES]] + noise).astype(np.float32)
    train_ms, (centroids, cluster) = timed(lambda: train_clusters(keys, threads=os.cpu_count() or 1))
    open_ms, index = timed(lambda: ClusteredIndex(keys, centroids, cluster))
    exact = ExactIndex(keys)

    def one_by_one(index: ClusteredIndex) -> Neighbours:
        distances, entries = zip(*(index.search(query[None], NEIGHBOURS) for query in queries), strict=True)
        return np.concatenate(distances), np.concatenate(entries)

    batch_ms, found = timed(lambda: index.search(queries, NEIGHBOURS))
    single_ms, _ = timed(lambda: one_by_one(index))
    exact_ms, expected = timed(lambda: exact.search(queries, NEIGHBOURS))
    return {
        "train_s": train_ms / 1e3,
        "open_ms": open_ms,
        f"recall@{NEIGHBOURS}": recall(found, expected),
        "us_a_query_batched": batch_ms / len(queries) * 1e3,
        "us_a_query_one_by_one": single_ms / len(queries) * 1e3,
        "us_a_query_exact_batched": exact_ms / len(queries) * 1e3,
    }


def bench() -> dict[str, Any]:
    """Run the comparison, print it as a table, and return the numbers."""
    generator = np.random.default_rng(0)
    print(f"one query, {ARTICLE_NUMBERS} float32 numbers an entry, {NEIGHBOURS} neighbours; milliseconds")
    print(f"{'entries':>10} {'row by row':>12} {'matrix':>10} {'times as fast':>14}  same neighbours")
    comparisons = []
    for entries in ARTICLE_ENTRIES:
        row = compare(entries, generator)
        comparisons.append(row)
        same = "yes" if row.same_neighbours else "NO"
        times = f"{row.loop_ms:>12,.2f} {row.matrix_ms:>10,.3f} {row.ratio:>14,.0f}"
        print(f"{entries:>10,} {times}  {same}", flush=True)
    largest = comparisons[-1]
    against = ARTICLE_MATRIX_MS / largest.matrix_ms
    print(f"{'article':>10} {ARTICLE_ROWS_MS:>12,.0f} {ARTICLE_MATRIX_MS:>10,.0f}")
    print(f"matrix product here against the article's: {against:,.0f} times as fast")
    clustered = measure_clustered(generator)
    print(f"clustered index, {CLUSTERED_ENTRIES:,} entries of {CLUSTERED_NUMBERS} int8 numbers:")
    for name, value in clustered.items():
        print(f"    {name.replace('_', ' ')} {value:,.2f}")
    rows = [{**asdict(row), "ratio": row.ratio} for row in comparisons]
    return {"article": rows, "times_as_fast_as_article": against, "clustered": clustered}
