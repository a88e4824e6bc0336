"""Neighbours of training samples, found once and kept: the backbone is frozen, so they never change.

A folder of shards, each written atomically; a search that was killed goes on with the first shard that is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dejavu.model.backbone import as_inputs
from dejavu.model.chess.features import features
from dejavu.model.data.dataset import Dataset
from dejavu.model.neighbours import Neighbours, Retriever, look_up
from dejavu.model.network import Network
from dejavu.model.training.ranks import Ranks
from dejavu.retrieval.atomic import atomic_write
from dejavu.retrieval.progress import followed

STEPS_A_SHARD = 32


class NeighbourShards:
    """Neighbours for the rows of every step of a run.

    `rows_of(step)` are the data set's rows [B]; their own games are never among the neighbours, provided the
    memory numbers its games as the data set does (one built by scripts/build_memory.py from this data set does).
    """

    def __init__(
        self,
        folder: Path,
        rows_of: Callable[[int], NDArray[np.int64]],
        steps: int,
        dataset: Dataset,
        network: Network,
        retriever: Retriever,
        ranks: Ranks,
    ) -> None:
        self.folder = folder
        self.rows_of = rows_of
        self.steps = steps
        self.dataset = dataset
        self.network = network
        self.retriever = retriever
        self.ranks = ranks
        self._loaded: tuple[int, list[Neighbours]] | None = None

    def _path(self, shard: int) -> Path:
        return self.folder / f"neighbours-{shard:05d}.npz"

    def compute(self) -> None:
        """Find and keep whatever is not yet there; every rank finds its share of the shards."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shards = self.ranks.share(range(0, self.steps, STEPS_A_SHARD))
        for first in followed(shards, "neighbours", "shards", silent=not self.ranks.is_first):
            path = self._path(first // STEPS_A_SHARD)
            if path.exists():
                continue
            found = [self.search(self.rows_of(step)) for step in range(first, min(first + STEPS_A_SHARD, self.steps))]
            with atomic_write(path) as file:
                np.savez(
                    file,
                    entries=np.stack([item.entries for item in found]),
                    distances=np.stack([item.distances for item in found]),
                )
        self.ranks.wait()

    def search(self, rows: NDArray[np.int64]) -> Neighbours:
        """Neighbours of data set rows [B]."""
        device = next(self.network.parameters()).device
        inputs = features(self.dataset.planes[rows], self.dataset.clocks[rows])
        with torch.inference_mode():
            hidden = self.network.backbone(as_inputs(inputs, device))
            embeddings = self.network.chunk_embeddings(hidden).float().cpu().numpy()
        return self.retriever.search(embeddings, self.dataset.game[rows])

    def of_step(self, step: int) -> Neighbours:
        """Neighbours for the rows of `step`, from the shards."""
        shard, index = divmod(step, STEPS_A_SHARD)
        if self._loaded is None or self._loaded[0] != shard:
            with np.load(self._path(shard)) as stored:
                pairs = zip(stored["entries"], stored["distances"], strict=True)
                self._loaded = shard, [look_up(self.retriever.memory, *pair) for pair in pairs]
        return self._loaded[1][index]
