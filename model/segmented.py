"""The neighbours of several memories that are asked together: the nearer wins, at equal distance the later memory's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dejavu.model.config import NetworkConfig
from dejavu.model.neighbours import Found, Retriever
from dejavu.retrieval.memory import Memory
from dejavu.retrieval.segments import Segments

EXACT_BESIDE = 500
"""A memory beside another is searched exactly up to so many entries: it must not cost what the first one does."""


class SegmentedRetriever(Retriever):
    """Asks a retriever for every memory. What a later memory says of a position, no earlier one contradicts.

    All keys come from one backbone, so their distances can be compared. Embeddings are projected once for all memories
    with the same projection.
    """

    def __init__(self, config: NetworkConfig, parts: Sequence[Retriever]) -> None:
        """At least one part."""
        self.parts = parts
        self.memory = parts[0].memory
        self.entries = self._segments = Segments([part.memory for part in parts])
        self.k = config.neighbours
        self.by_chunk = config.retrieve_by == "chunk"
        self._like = [
            next(number for number, other in enumerate(parts) if _project_alike(part.memory, other.memory))
            for part in parts
        ]
        """Number of the first part with the same projection."""

    def _keys(self, embeddings: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The queries [B, l, c] for each part."""
        keys: list[NDArray[np.float32]] = []
        for part, like in zip(self.parts, self._like, strict=True):
            keys.append(keys[like] if like < len(keys) else part.memory.project(embeddings))
        return keys

    def may_know(self, planes: NDArray[np.uint64], reach: float) -> NDArray[np.bool_]:
        """See `Retriever.may_know`: any part will do."""
        return np.asarray(np.any([part.may_know(planes, reach) for part in self.parts], axis=0))

    def _find(self, embeddings: NDArray[np.float32], exclude_game: NDArray[np.int32] | None) -> Found:
        if exclude_game is not None:
            raise ValueError("several memories have no common numbers of games, so none can be excluded")
        return self._merge(
            [part.find_keys(keys) for part, keys in zip(self.parts, self._keys(embeddings), strict=True)]
        )

    def _glance(self, embeddings: NDArray[np.float32], reach: float) -> Found:
        found = [part.glance_keys(keys, reach) for part, keys in zip(self.parts, self._keys(embeddings), strict=True)]
        near = np.zeros(len(embeddings), dtype=bool)
        for entries, distances in found:
            near |= ((entries >= 0) & (distances <= reach)).any(axis=(1, 2))
        merged = np.full_like(found[0][0], -1), np.full_like(found[0][1], np.inf)
        if near.any():
            merged[0][near], merged[1][near] = self._merge([(part[0][near], part[1][near]) for part in found])
        return merged

    def _merge(self, found: Sequence[Found]) -> Found:
        """The k nearest of all parts' entries [B, L, k]; of one position only what the last part says."""
        later_first = [
            (np.where(entries < 0, -1, entries + start), distances)
            for (entries, distances), start in zip(found, self._segments.starts, strict=True)
        ][::-1]
        entries = np.concatenate([part for part, _ in later_first], axis=2)
        distances = np.concatenate([part for _, part in later_first], axis=2)
        boards = self._segments.boards[np.maximum(entries, 0)]  # [B, L, S * k, 4]
        same = (boards[:, :, :, None] == boards[:, :, None]).all(axis=4) & (entries >= 0)[:, :, :, None]
        outdated = np.triu(same, k=1).any(axis=2)  # the same board stands further left
        absent = (entries < 0) | outdated
        distances = np.where(absent, np.float32(np.inf), distances)
        order = np.argsort(distances, axis=2, kind="stable")[:, :, : self.k]
        return (
            np.take_along_axis(np.where(absent, -1, entries), order, axis=2),
            np.take_along_axis(distances, order, axis=2),
        )


def _project_alike(one: Memory, other: Memory) -> bool:
    return np.array_equal(one.key_mean, other.key_mean) and np.array_equal(one.key_projection, other.key_projection)
