"""Nearest neighbours: the exact index equals a slow loop, the clustered one is close, and nothing leaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memories import PLIES_A_GAME, grouped_keys, small_memory
from numpy.typing import NDArray

from dejavu.retrieval import knn
from dejavu.retrieval.knn import (
    ClusteredIndex,
    ExactIndex,
    Index,
    chunk_indexes,
    position_index,
    recall,
    train_clusters,
)

ENTRIES, NUMBERS = 20_000, 32
KEYS = grouped_keys(ENTRIES, NUMBERS)
GAMES = (np.arange(ENTRIES) // PLIES_A_GAME).astype(np.int32)


@pytest.fixture(scope="module")
def clustered() -> ClusteredIndex:
    return ClusteredIndex(KEYS, *train_clusters(KEYS), games=GAMES)


@pytest.fixture(scope="module")
def queries() -> NDArray[np.float32]:
    """Positions near those of some games, as a search meets them."""
    generator = np.random.default_rng(5)
    rows = generator.permutation(ENTRIES)[:200]
    near = np.rint(KEYS[rows] + generator.normal(scale=10, size=(200, NUMBERS)))
    return np.clip(near, -127, 127).astype(np.float32)


def exact_over(keys: NDArray[np.int8], games: NDArray[np.int32]) -> Index:
    return ExactIndex(keys, games)


def clustered_over(keys: NDArray[np.int8], games: NDArray[np.int32]) -> Index:
    return ClusteredIndex(keys, *train_clusters(keys), games=games, probes=2)


BOTH = pytest.mark.parametrize("make", [exact_over, clustered_over])
Make = Callable[[NDArray[np.int8], NDArray[np.int32]], Index]


def slow_distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    return sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))


@settings(deadline=None, max_examples=60)
@given(
    entries=st.integers(1, 80),
    numbers=st.integers(1, 12),
    k=st.integers(1, 10),
    whole=st.booleans(),
    exclude=st.booleans(),
    block_bytes=st.sampled_from([1, 600, 2**25]),
    seed=st.integers(0, 1000),
)
def test_exact_index_equals_a_slow_loop(
    entries: int, numbers: int, k: int, whole: bool, exclude: bool, block_bytes: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    drawn = generator.normal(scale=40, size=(entries, numbers))
    keys = drawn.astype(np.int8) if whole else drawn.astype(np.float32)
    queries = np.rint(generator.normal(scale=40, size=(3, numbers))).astype(np.float32)
    games = generator.integers(0, 4, entries).astype(np.int32)
    excluded = np.array([0, 1, -1], dtype=np.int32) if exclude else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knn, "_BLOCK_BYTES", block_bytes)
        patch.setattr(knn, "_QUERIES_A_BLOCK", 2)
        distances, indices = ExactIndex(keys, games).search(queries, k, excluded)
    assert distances.shape == indices.shape == (3, k)
    for row, query in enumerate(queries):
        allowed = [entry for entry in range(entries) if excluded is None or games[entry] != excluded[row]]
        true = {entry: slow_distance(keys[entry], query) for entry in allowed}
        found = indices[row][indices[row] >= 0].tolist()
        assert len(set(found)) == len(found) == min(k, len(allowed))
        expected = sorted(true.values())[: len(found)]
        np.testing.assert_allclose([true[entry] for entry in found], expected, rtol=1e-4, atol=0.05)
        np.testing.assert_allclose(distances[row][: len(found)], expected, rtol=1e-4, atol=0.05)
        assert np.isinf(distances[row][len(found) :]).all()
        assert (indices[row][len(found) :] == -1).all()


def test_whole_numbers_make_exact_distances() -> None:
    keys = np.array([[127] * 128, [-127] * 128, [0] * 128], dtype=np.int8)
    for index in (ExactIndex(keys), ClusteredIndex(keys, *train_clusters(keys))):
        distances, indices = index.search(keys[:1].astype(np.float32), 3)
        assert indices.tolist() == [[0, 2, 1]]
        assert distances.tolist() == [[0, 128 * 127**2, 128 * 254**2]]


def test_clustered_recall_without_own_game(clustered: ClusteredIndex, queries: NDArray[np.float32]) -> None:
    exact = ExactIndex(KEYS, GAMES)
    found, expected = clustered.search(queries, 4), exact.search(queries, 4)
    assert recall(found, expected) >= 0.9
    # Neighbours in other games are the hard case: a position's nearest cluster is its own game.
    own = GAMES[expected[1][:, 0]]
    found, expected = clustered.search(queries, 4, own), exact.search(queries, 4, own)
    assert recall(found, expected) >= 0.9
    assert not (GAMES[found[1]] == own[:, None]).any()


def test_clustered_distances_are_true_and_sorted(clustered: ClusteredIndex, queries: NDArray[np.float32]) -> None:
    distances, indices = clustered.search(queries, 6)
    true = ((KEYS[indices].astype(np.float64) - queries[:, None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(distances, true)
    assert (np.diff(distances, axis=1) >= 0).all()


def test_clustered_queries_past_int8_are_cut(clustered: ClusteredIndex) -> None:
    query = KEYS[:1].astype(np.float32)
    query[0, :2] = 300, -200.4
    cut = query.copy()
    cut[0, :2] = 127, -127
    for found, expected in zip(clustered.search(query, 3), clustered.search(cut, 3), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_an_entry_finds_itself(clustered: ClusteredIndex) -> None:
    rows = np.arange(0, ENTRIES, 500)
    distances, indices = clustered.search(KEYS[rows].astype(np.float32), 1)
    np.testing.assert_array_equal(indices[:, 0], rows)
    assert not distances.any()


def test_a_batch_answers_as_its_queries_alone(clustered: ClusteredIndex, queries: NDArray[np.float32]) -> None:
    for index in (clustered, ExactIndex(KEYS, GAMES)):
        together = index.search(queries[:20], 4)
        for row in range(20):
            alone = index.search(queries[row : row + 1], 4)
            np.testing.assert_array_equal(alone[0][0], together[0][row])


@BOTH
def test_own_game_is_never_found_even_where_it_is_all_that_is_near(make: Make) -> None:
    own = np.tile(np.arange(8, dtype=np.int8), (3000, 1))  # 3000 copies of the query, all of game 7
    others = grouped_keys(400, 8, seed=2)
    keys = np.concatenate([others[:200], own, others[200:]])
    games = np.concatenate([np.zeros(200), np.full(3000, 7), np.ones(200)]).astype(np.int32)
    query = own[:1].astype(np.float32)
    index = make(keys, games)
    _, indices = index.search(query, 5, np.array([7], dtype=np.int32))
    assert (indices >= 0).all()
    assert (games[indices] != 7).all()
    distances, indices = index.search(query, 5, np.array([-1], dtype=np.int32))  # nothing to exclude
    assert (games[indices] == 7).all()
    assert not distances.any()


@BOTH
def test_fewer_than_k_outside_the_own_game(make: Make) -> None:
    keys = grouped_keys(500, 8)
    games = np.zeros(500, dtype=np.int32)
    games[[10, 400]] = 1
    excluded = np.array([0, 1, 2], dtype=np.int32)
    distances, indices = make(keys, games).search(keys[[0, 10, 3]].astype(np.float32), 4, excluded)
    assert set(indices[0, :2].tolist()) == {10, 400}
    assert indices[0, 2:].tolist() == [-1, -1]
    assert np.isinf(distances[0, 2:]).all()
    assert (games[indices[1]] == 0).all()
    assert indices[2, 0] == 3
    _, indices = make(keys, np.zeros(500, dtype=np.int32)).search(keys[:1].astype(np.float32), 4, excluded[:1])
    assert (indices == -1).all()


@BOTH
def test_more_neighbours_than_entries(make: Make) -> None:
    keys = grouped_keys(3, 4)
    distances, indices = make(keys, np.zeros(3, dtype=np.int32)).search(keys.astype(np.float32), 5)
    assert (np.sort(indices[:, :3], axis=1) == [0, 1, 2]).all()
    assert (indices[:, 3:] == -1).all()
    assert np.isinf(distances[:, 3:]).all()


@BOTH
def test_no_queries(make: Make) -> None:
    keys = grouped_keys(30, 4)
    distances, indices = make(keys, np.zeros(30, dtype=np.int32)).search(np.empty((0, 4), dtype=np.float32), 5)
    assert distances.shape == indices.shape == (0, 5)


def test_games_are_needed_to_exclude_one() -> None:
    keys = grouped_keys(30, 4)
    for index in (ExactIndex(keys), ClusteredIndex(keys, *train_clusters(keys))):
        with pytest.raises(ValueError, match="without games"):
            index.search(keys[:1].astype(np.float32), 1, np.array([0], dtype=np.int32))


def test_clusters_are_reproducible_and_nearest() -> None:
    keys = KEYS[:3000]
    centroids, cluster = train_clusters(keys, seed=3)
    again = train_clusters(keys, seed=3)
    np.testing.assert_array_equal(centroids, again[0])
    np.testing.assert_array_equal(cluster, again[1])
    nearest = ExactIndex(centroids).search(keys.astype(np.float32), 1)[1][:, 0]
    assert (nearest == cluster).mean() > 0.999  # all but ties


def test_indexes_of_a_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = small_memory(entries=600, chunks=3, key_size=4)
    row = np.array([37])
    for limit, kind in ((1000, ExactIndex), (100, ClusteredIndex)):
        monkeypatch.setattr(knn, "EXACT_LIMIT", limit)
        index = position_index(memory)
        assert isinstance(index, kind)
        distances, indices = index.search(memory.position_keys[row].astype(np.float32), 2)
        assert (distances[0, 0], indices[0, 0]) == (0, 37)
        chunks = chunk_indexes(memory)
        assert [type(chunk) for chunk in chunks] == [kind] * 3
        for number, chunk in enumerate(chunks):
            distances, indices = chunk.search(memory.keys[row, number].astype(np.float32), 2, memory.game[row])
            true = ((memory.keys[indices[0], number].astype(float) - memory.keys[37, number]) ** 2).sum(axis=1)
            np.testing.assert_array_equal(distances[0], true)
            assert (memory.game[indices] != memory.game[37]).all()


def test_near_entries_are_found_in_a_few_clusters(clustered: ClusteredIndex, queries: NDArray[np.float32]) -> None:
    exact = ExactIndex(KEYS).search(queries, 3)
    distances, entries = clustered.search_near(queries, 3)
    assert (distances >= exact[0]).all()
    nearest = exact[0][:, 0]
    near = nearest <= np.median(nearest)
    np.testing.assert_array_equal(distances[near, 0], nearest[near])
    true = ((KEYS[entries].astype(float) - np.clip(np.rint(queries), -127, 127)[:, None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(distances, true)
    assert (clustered.search_near(KEYS[:20].astype(np.float32), 1)[0] == 0).all()


def test_recall_counts_ties_and_misses() -> None:
    expected = np.array([[0, 4], [1, np.inf]], dtype=np.float32), np.array([[5, 6], [7, -1]])
    tie = np.array([[0, 4], [1, np.inf]], dtype=np.float32), np.array([[5, 8], [7, -1]])
    miss = np.array([[4, 9], [1, np.inf]], dtype=np.float32), np.array([[6, 9], [7, -1]])
    assert recall(tie, expected) == 1
    assert recall(miss, expected) == pytest.approx(2 / 3)


def test_thread_settings_are_left_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    before = faiss.omp_get_max_threads(), torch.get_num_threads()
    seen = []
    index = ClusteredIndex(KEYS[:100], *train_clusters(KEYS[:100]), threads=before[0] + 2)
    original: Callable[..., object] = index._index.search

    def search(*arguments: object, **named: object) -> object:
        seen.append(faiss.omp_get_max_threads())
        return original(*arguments, **named)

    monkeypatch.setattr(index._index, "search", search)
    index.search(KEYS[:2].astype(np.float32), 2)
    assert seen in ([before[0] + 2], [1])  # 1 where a second OpenMP runtime cannot be trusted
    assert (faiss.omp_get_max_threads(), torch.get_num_threads()) == before
