"""Batches of training samples, drawn in an order that depends on the seed and the step alone.

So a run that is killed and resumed sees exactly the samples it would have seen.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dejavu.model.backbone import Inputs, as_inputs
from dejavu.model.chess.attacks import attacks, legal_mask
from dejavu.model.chess.encoding import MIRRORED_MOVES, mirror
from dejavu.model.chess.features import features
from dejavu.model.data.dataset import Dataset
from dejavu.model.neighbour_encoder import Records
from dejavu.model.neighbours import Neighbours, read_records
from dejavu.model.training.auxiliary import Continuation
from dejavu.retrieval.memory import Memory
from dejavu.retrieval.moves import CONTINUATION_PLIES, NO_MOVE, POLICY_SIZE

T = TypeVar("T")
_PREFETCHED = 4
_FARTHEST_TWIN = 256
"""Squared distance in key units, up to which a position may lie from itself: another half-move clock moves a key by
as much, another number format by 20. Other positions are hardly ever nearer than 3,000."""


class NeighbourInputs(NamedTuple):
    """The neighbours of B samples: U distinct records, and which of them each sample has."""

    records: Records
    """[U] each"""
    slots: Tensor
    """[B, L, k] which record; 0 where there is none."""
    found: Neighbours
    """What the memory has of each slot, [B, L, k]."""

    def to(self, device: torch.device) -> NeighbourInputs:
        records = Records(*(tensor.to(device, non_blocking=True) for tensor in self.records))
        return NeighbourInputs(records, self.slots.to(device, non_blocking=True), self.found)


class Batch(NamedTuple):
    """B samples."""

    rows: NDArray[np.int64]
    """[B] positions of the data set."""
    inputs: Inputs
    legal: Tensor
    """[B, POLICY_SIZE] bool"""
    best: Tensor
    """[B] policy index of the best move; UNKNOWN where only the value is known, which teaches the policy nothing."""
    wdl: Tensor
    """[B, 3] value target."""
    policy: Tensor | None = None
    """[B, POLICY_SIZE] policy target: shares of a search's visits, or of softened values; zeros where `best` is
    UNKNOWN. None if the best move is all that is known."""
    continuation: Continuation | None = None
    """How the games went on, for a network that learns to foresee."""
    neighbours: NeighbourInputs | None = None
    """What the retrieval part reads, in its stage of the training."""

    def to(self, device: torch.device) -> Batch:
        inputs = Inputs(*(tensor.to(device, non_blocking=True) for tensor in self.inputs))
        return Batch(
            rows=self.rows,
            inputs=inputs,
            legal=self.legal.to(device, non_blocking=True),
            best=self.best.to(device, non_blocking=True),
            wdl=self.wdl.to(device, non_blocking=True),
            policy=None if self.policy is None else self.policy.to(device, non_blocking=True),
            continuation=self.continuation
            and Continuation(*(tensor.to(device, non_blocking=True) for tensor in self.continuation)),
            neighbours=self.neighbours and self.neighbours.to(device),
        )


class Sampler:
    """Which rows step t trains on: every source has its share of a batch and its own shuffled epochs."""

    def __init__(self, sources: Mapping[str, NDArray[np.int64]], weights: Mapping[str, float], batch: int, seed: int):
        """`sources` are the rows of each source, `weights` their shares of a batch (any scale)."""
        self.seed = seed
        for name, rows in sources.items():
            if not len(rows):
                raise ValueError(f"no positions to train on from '{name}'" if name else "no positions to train on")
        self.sources = list(sources.values())
        shares = np.array([weights[name] for name in sources], dtype=float)
        if shares.sum() <= 0:
            raise ValueError("no positions to train on: every source has weight 0")
        ends = np.round(np.cumsum(shares) / shares.sum() * batch).astype(int)
        self.counts = np.diff(ends, prepend=0)
        self._epochs: dict[tuple[int, int], NDArray[np.int64]] = {}

    def rows(self, step: int) -> NDArray[np.int64]:
        """[batch] rows of one step."""
        picked = []
        for number, (rows, count) in enumerate(zip(self.sources, self.counts, strict=True)):
            slots = step * count + np.arange(count)
            epochs = slots // len(rows)
            for epoch in np.unique(epochs):
                order = self._epoch(number, int(epoch))
                picked.append(rows[order[slots[epochs == epoch] % len(rows)]])
        return np.concatenate(picked)

    def _epoch(self, source: int, epoch: int) -> NDArray[np.int64]:
        key = source, epoch
        if key not in self._epochs:
            self._epochs = {old: order for old, order in self._epochs.items() if old[0] != source}
            shuffle = np.random.default_rng((self.seed, source, epoch))
            self._epochs[key] = shuffle.permutation(len(self.sources[source]))
        return self._epochs[key]


def mirrored_rows(dataset: Dataset, rows: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """[B] a random half of the positions without castling rights, the same at every call."""
    bit0, bit1, bit2, _ = dataset.planes[rows].T
    mirrored: NDArray[np.bool_] = random_half(rows, seed) & (bit0 & bit1 & bit2 == 0)
    return mirrored


def random_half(rows: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """[B] the same choice at every call."""
    return np.random.default_rng((seed, *rows[:1])).random(len(rows)) < 0.5


def make_batch(
    dataset: Dataset,
    rows: NDArray[np.int64],
    result_weight: float = 0.0,
    mirrored: NDArray[np.bool_] | None = None,
) -> Batch:
    """Features, masks and targets of `rows` [B]; the `mirrored` [B] ones with the files swapped."""
    planes, clocks, best = dataset.planes[rows], dataset.clocks[rows], dataset.best[rows]
    if mirrored is not None:
        planes[mirrored] = mirror(planes[mirrored])
        best = np.where(mirrored, MIRRORED_MOVES[best], best)
    policy = None
    searched, moves, shares = dataset.searches.visit_shares(rows)
    if len(searched):
        if mirrored is not None:
            moves = np.where(mirrored[searched], MIRRORED_MOVES[moves], moves)
        target = np.zeros((len(rows), POLICY_SIZE), np.float32)
        target[np.arange(len(rows)), best] = 1
        target[searched] = 0
        target[searched, moves] = shares
        policy = torch.from_numpy(target)
    batch = batch_of(rows, planes, clocks, best.astype(np.int64), dataset.wdl_target(rows, result_weight))
    return batch._replace(policy=policy)


def batch_of(
    rows: NDArray[np.int64],
    planes: NDArray[np.uint64],
    clocks: NDArray[np.uint8],
    best: NDArray[np.int64],
    wdl: NDArray[np.float32],
) -> Batch:
    """Features and masks of planes [B, 4] and clocks [B], beside what is known of them."""
    sets = attacks(planes)
    return Batch(
        rows=rows,
        inputs=as_inputs(features(planes, clocks, sets), torch.device("cpu")),
        legal=torch.from_numpy(legal_mask(planes, sets)),
        best=torch.from_numpy(best),
        wdl=torch.from_numpy(wdl),
    )


def add_neighbours(batch: Batch, found: Neighbours, memory: Memory) -> Batch:
    """The batch with the records of its neighbours, each distinct one once."""
    distinct, inverse = np.unique(np.maximum(found.entries, 0), return_inverse=True)
    slots = torch.from_numpy(inverse.reshape(found.entries.shape))
    return batch._replace(neighbours=NeighbourInputs(read_records(memory, distinct), slots, found))


def add_twins(batch: Batch, share: float, seed: int, random_moves: float = 0.5) -> Batch:
    """The batch, where a `share` of the samples has been taught: its nearest neighbour is its own position.

    Such a twin is what scripts/remember.py makes of a lesson: the very same position, one move and nothing after it,
    and how it stands, or not even that. Ordinary games hardly ever give such a neighbour, so a network that has seen
    only those follows its own opinion where it was told better. Of the twins, `random_moves` teach any legal move,
    which is the sample's target then: its own opinion is of no use there, and the network must learn to read.

    The batch must have its neighbours and lie on the CPU. Equal arguments give equal twins.
    """
    assert batch.neighbours is not None
    generator = np.random.default_rng((seed, *batch.rows.tolist()))
    taught = np.flatnonzero(generator.random(len(batch.rows)) < share)
    at = torch.from_numpy(taught)

    legal = batch.legal[at].numpy()
    drawn = np.where(legal, generator.random(legal.shape), -1).argmax(axis=1)
    is_random = generator.random(len(taught)) < random_moves
    best = batch.best.clone()
    best[at] = torch.where(torch.from_numpy(is_random), torch.from_numpy(drawn), best[at])

    policy = batch.policy
    if policy is not None:
        policy = policy.clone()
        policy[at] = 0
        policy[at, best[at]] = 1

    moves = torch.full((len(taught), CONTINUATION_PLIES), NO_MOVE)
    moves[:, 0] = best[at]
    is_unknown = torch.from_numpy(generator.random(len(taught)) < 0.5)[:, None]
    wdl = torch.where(is_unknown, torch.tensor(1 / 3), batch.wdl[at])
    twins = Records(batch.inputs.squares[at], batch.inputs.clocks[at], moves, wdl)

    # The twin comes first, and the last of the other neighbours is dropped.
    is_exact = generator.random(len(taught)) < 0.5
    near = np.floor((1 + _FARTHEST_TWIN) ** generator.random(len(taught)))
    records, slots, found = batch.neighbours
    found, slots = found.take(np.arange(len(batch.rows))), slots.clone()
    tables: list[NDArray[Any]] = [*found, slots.numpy()]
    for table in tables:
        table[taught, :, 1:] = table[taught, :, :-1]
    found.entries[taught, :, 0] = 0  # no entry of the memory, but there
    found.distances[taught, :, 0] = np.where(is_exact, 0, near)[:, None]
    found.moves[taught, :, 0] = best[at].numpy()[:, None]
    found.wdl[taught, :, 0] = np.rint(wdl.numpy() * 255)[:, None]
    slots[at, :, 0] = (len(records.wdl) + torch.arange(len(taught)))[:, None]
    records = Records(*(torch.cat(pair) for pair in zip(records, twins, strict=True)))
    return batch._replace(best=best, policy=policy, neighbours=NeighbourInputs(records, slots, found))


@contextlib.contextmanager
def prefetch(make: Callable[[int], T], steps: range) -> Iterator[Iterator[T]]:
    """make(step) for every step, prepared ahead by a second thread. An error there is raised here.

    The thread has ended where the context ends: a process that ends beside one that computes is aborted by it.
    """
    ready: queue.Queue[T | BaseException] = queue.Queue(_PREFETCHED)
    stopped = threading.Event()

    def offer(item: T | BaseException) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for step in steps:
                if not offer(make(step)):
                    return
        except BaseException as error:
            offer(error)

    def take() -> Iterator[T]:
        for _ in steps:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=work, name="prefetch")
    thread.start()
    try:
        yield take()
    finally:
        stopped.set()
        thread.join()
