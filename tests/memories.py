"""Small memories for tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dejavu.retrieval.knn import train_clusters
from dejavu.retrieval.memory import Memory, Provenance, encode_names
from dejavu.retrieval.moves import NO_MOVE

PLIES_A_GAME = 20


def grouped_keys(entries: int, numbers: int, seed: int = 0) -> NDArray[np.int8]:
    """Keys [n, D] like those of games: PLIES_A_GAME in a row lie around one centre."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(scale=30, size=(-(-entries // PLIES_A_GAME), numbers))
    keys = centres.repeat(PLIES_A_GAME, axis=0)[:entries] + generator.normal(scale=10, size=(entries, numbers))
    return np.clip(np.rint(keys), -127, 127).astype(np.int8)


def small_memory(entries: int = 60, chunks: int = 2, key_size: int = 4, embedding: int = 6, seed: int = 0) -> Memory:
    """A memory of made-up positions; game g is called "Game g".

    `embedding` is the number of numbers a chunk before they are projected to keys.
    """
    generator = np.random.default_rng(seed)
    keys = grouped_keys(entries, chunks * key_size, seed=seed)
    centroids, cluster = train_clusters(keys)
    game = (np.arange(entries) // PLIES_A_GAME).astype(np.int32)
    continuations = generator.integers(0, 4168, (entries, 8), dtype=np.uint16)
    continuations[:, 5:] = NO_MOVE
    names, offsets = encode_names([f"Game {number}" for number in range(game[-1] + 1)])
    return Memory(
        keys=keys.reshape(entries, chunks, key_size),
        key_mean=generator.normal(size=(chunks, embedding)).astype(np.float32),
        key_projection=generator.normal(scale=10, size=(chunks, embedding, key_size)).astype(np.float32),
        boards=generator.integers(0, 2**64, (entries, 4), dtype=np.uint64),
        clocks=generator.integers(0, 101, entries).astype(np.uint8),
        continuations=continuations,
        wdl=np.full((entries, 3), 85, dtype=np.uint8),
        game=game,
        centroids=centroids,
        cluster=cluster,
        game_names=names,
        game_offsets=offsets,
        fingerprint="00ff00ff00ff00ff",
        provenance=Provenance("games.pgn", "build_memory.py --entries 60", "2026-01-01"),
    )
