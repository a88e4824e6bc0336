"""From positions to what the tree stores of them: evaluator protocol, softmax over legal moves, cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dejavu.engine.search.softmax import ordered_by_softmax
from dejavu.model.chess.attacks import attacks, legal_moves
from dejavu.model.chess.encoding import Packed
from dejavu.model.chess.mates import mating_moves
from dejavu.model.evaluations import Evaluations
from dejavu.retrieval.moves import NO_MOVE

if TYPE_CHECKING:
    import chess

    from dejavu.model.explanation import NeighbourDescription
    from dejavu.model.similar import Similar
    from dejavu.retrieval.memory import Memory

CacheKey = tuple[Packed, int]
"""Packed position and clock byte: everything an evaluation depends on."""


class EvaluationError(RuntimeError):
    """The evaluator's answer cannot be used; the message is one sentence for the user."""


class Evaluator(Protocol):
    """What the search needs of a network."""

    memory_reach: float
    """Squared distance up to which a remembered position is near enough to be asked."""

    def evaluate(self, planes: NDArray[np.uint64], clocks: NDArray[np.uint8], memory: bool = True) -> Evaluations:
        """Evaluate packed positions: planes [B, 4], clock bytes [B]; with the memory, if there is one, or without."""

    def describe(self) -> str:
        """One line: what plays."""


@runtime_checkable
class Remembering(Protocol):
    """An evaluator that can name the neighbours it retrieved."""

    def neighbours(self, planes: NDArray[np.uint64], clocks: NDArray[np.uint8]) -> Sequence[NeighbourDescription]:
        """Neighbours of one packed position: planes [1, 4], clock byte [1]."""


@runtime_checkable
class Searchable(Protocol):
    """An evaluator whose memory can be searched for positions at any distance."""

    def similar(self, board: chess.Board, clock: int, count: int) -> Sequence[Similar]:
        """The remembered positions most like `board` with its clock byte; none without a memory."""


@runtime_checkable
class Extensible(Protocol):
    """An evaluator that asks several memories."""

    warning: str
    """What is wrong with a file that it can do without; empty if nothing is."""

    @property
    def fingerprint(self) -> str:
        """Name of the backbone that must have made a memory's keys."""

    @property
    def memories(self) -> Sequence[Memory]:
        """The memories that are asked, in order."""

    def put_beside(self, memories: Sequence[Memory]) -> None:
        """Ask these, too, instead of those put there before; raises MemoryFileError if one does not fit."""

    def embeddings(self, planes: NDArray[np.uint64], clocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Chunk embeddings [B, l, d] of packed positions: planes [B, 4], clocks [B]."""

    def another_embedder(self) -> Callable[[NDArray[np.uint64], NDArray[np.uint8]], NDArray[np.float32]]:
        """The same for another thread."""


class UniformEvaluator:
    """Knows the rules and nothing else: all moves alike, all positions even, but for mates at once."""

    memory_reach = 0.0

    def evaluate(self, planes: NDArray[np.uint64], clocks: NDArray[np.uint8], memory: bool = True) -> Evaluations:
        """List the legal moves; logits are 0, WDL is 25 % 50 % 25 %."""
        sets = attacks(planes)
        legal = legal_moves(planes, sets)
        wdl = np.tile(np.array([0.25, 0.5, 0.25], np.float32), (len(planes), 1))
        return Evaluations(
            offsets=legal.offsets,
            moves=legal.moves,
            logits=np.zeros(len(legal.moves), np.float32),
            mating=mating_moves(planes, sets, legal),
            wdl=wdl,
        )

    def describe(self) -> str:
        return "no network: every move alike"


class Expansion(NamedTuple):
    """What the tree stores of one evaluated position."""

    moves: bytes
    """uint16 policy indices: a move that mates at once, then the likeliest move first."""
    priors: bytes
    """float32 P of those moves; their sum is 1."""
    value: float
    """Win minus loss probability, from the side to move."""
    draw: float
    """Draw probability."""
    mates: bool = False
    """The first move mates at once."""


def priors(evaluations: Evaluations, temperature: float) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Moves [M] and their P [M], position by position as in `evaluations`, the likeliest first.

    Softmax of logits / temperature over each position's legal moves, for all positions at once.
    """
    logits = np.require(evaluations.logits, np.float32, ["C", "W"])
    return ordered_by_softmax(evaluations.offsets, evaluations.moves, logits, temperature)


def expansions(evaluations: Evaluations, temperature: float) -> list[Expansion]:
    """One `Expansion` per position; raises EvaluationError if the network's numbers are not finite."""
    if not (np.isfinite(evaluations.logits).all() and np.isfinite(evaluations.wdl).all()):
        raise EvaluationError("the network's answer is not a number: its weights file is damaged")
    moves, probabilities = priors(evaluations, temperature)
    offsets = evaluations.offsets
    mates = evaluations.mating != NO_MOVE
    for b in np.flatnonzero(mates):
        part = slice(offsets[b], offsets[b + 1])
        order = np.argsort(moves[part] != evaluations.mating[b], kind="stable")
        moves[part], probabilities[part] = moves[part][order], probabilities[part][order]
    move_bytes = moves.astype(np.uint16).tobytes()
    prior_bytes = probabilities.tobytes()
    return [
        Expansion(move_bytes[2 * start : 2 * end], prior_bytes[4 * start : 4 * end], win - loss, draw, mate)
        for start, end, (win, draw, loss), mate in zip(
            offsets[:-1].tolist(), offsets[1:].tolist(), evaluations.wdl.tolist(), mates.tolist(), strict=True
        )
    ]


CLOCK_STEP, FINE_CLOCK = 8, 56
"""Plies that the cache does not tell apart, and the half-move clock from which it does."""


def _coarse(key: CacheKey) -> CacheKey:
    planes, clock = key
    return key if clock >= FINE_CLOCK else (planes, clock // CLOCK_STEP)


class EvaluationCache:
    """Evaluations of positions seen lately, the least recently used dropped first.

    Keyed by the exact position, whether it is repeated, and its half-move clock, of which up to FINE_CLOCK only every
    CLOCK_STEPth counts: a few plies change an evaluation less than rounding does (docs/history/stored-evaluations.md).
    """

    ENTRY_BYTES = 720
    """Measured for 35 moves: byte strings, tuple, floats, key, and the place in the dictionary."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity = max(1, capacity_bytes // self.ENTRY_BYTES)
        # Not a dict: finding its oldest entry takes longer than an evaluation's search once it is full.
        self._entries: OrderedDict[CacheKey, Expansion] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: CacheKey) -> Expansion | None:
        """The stored expansion, which becomes the most recently used one, or None."""
        key = _coarse(key)
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: CacheKey, expansion: Expansion) -> None:
        """Store an expansion; the oldest one makes room."""
        entries = self._entries
        entries[_coarse(key)] = expansion
        if len(entries) > self.capacity:
            entries.popitem(last=False)
