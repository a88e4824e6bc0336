"""Positions like a given one, from one memory or several, at any distance.

The nearest by the network's keys are put in the order of what a person sees of them: the pieces and where they stand,
and how many pawn moves lie in between (`structure.difference`). Neither alone is as good: docs/seeing.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import chess
import numpy as np
from numpy.typing import NDArray

from dejavu.model.chess.encoding import pack, stack
from dejavu.model.chess.structure import PIECES, difference, piece_counts
from dejavu.model.measurement.measures import PHASES, phases
from dejavu.model.remembered import Remembered, entry_fields
from dejavu.retrieval.knn import FlatIndex
from dejavu.retrieval.memory import Memory
from dejavu.retrieval.names import RESULTS, GameName

CANDIDATES = 3000
"""Nearest entries of a memory that are put in order; more where they are from too few games."""

SAME_MATERIAL = "same"
_MATERIAL = re.compile(r"K([QRBNP]*)vK([QRBNP]*)")

Embed = Callable[[NDArray[np.uint64], NDArray[np.uint8]], NDArray[np.float32]]
"""(planes [B, 4], clocks [B]) -> chunk embeddings [B, l, d], of the backbone that made the memories."""


class FilterError(ValueError):
    """A filter that asks for what there is not; the message is one sentence."""


@dataclass(frozen=True)
class Filters:
    """Which remembered positions are wanted; an empty filter takes all."""

    player: str = ""
    """Part of the names of the players, in small letters or capitals."""
    result: str = ""
    """One of `names.RESULTS`; games whose results are not known have none of them."""
    phase: str = ""
    """One of `measures.PHASES`."""
    material: str = ""
    """SAME_MATERIAL, that of the position, or White's against Black's pieces: KRPPvKR."""

    def check(self) -> None:
        """Raises FilterError."""
        if self.result and self.result not in RESULTS:
            raise FilterError(f"the result {self.result!r} is none of {', '.join(RESULTS)}")
        if self.phase and self.phase not in PHASES:
            raise FilterError(f"the phase {self.phase!r} is none of {', '.join(PHASES)}")
        if self.material not in ("", SAME_MATERIAL) and not _MATERIAL.fullmatch(self.material):
            raise FilterError(f"the material {self.material!r} is not {SAME_MATERIAL} or like KRPPvKR")

    def allowed(self, memory: Memory, asked: chess.Board) -> NDArray[np.bool_] | None:
        """[n] which entries pass, asked for this position; None if all do."""
        if self == Filters():
            return None
        allowed = np.ones(len(memory), dtype=bool)
        if self.player or self.result:
            names = [GameName.parse(memory.game_name(game)) for game in range(memory.games)]
            player = self.player.casefold()
            passes = [player in name.players.casefold() and self.result in ("", name.result) for name in names]
            allowed &= np.array(passes, dtype=bool)[memory.game]
        if self.phase:
            allowed &= phases(memory.boards) == PHASES.index(self.phase)
        if self.material:
            allowed &= (piece_counts(memory.boards) == self._counts(asked)).all(axis=1)
        return allowed

    def _counts(self, asked: chess.Board) -> NDArray[np.int64]:
        """[10] the pieces wanted, as `piece_counts` has them: the mover's first."""
        match = _MATERIAL.fullmatch(self.material)
        if match is None:
            return np.asarray(piece_counts(stack([pack(asked)]))[0])
        sides = match.groups() if asked.turn == chess.WHITE else match.groups()[::-1]
        return np.array([side.count(piece) for piece in PIECES for side in sides])


@dataclass(frozen=True)
class Similar(Remembered):
    """A remembered position that is like the one asked about."""

    difference: int
    """How much of the board is another, see `structure.difference`."""
    memory: int
    """Number of the memory it comes from."""
    entry: int
    """Its number there."""


class SimilarPositions:
    """Finds what is like a position in memories whose keys one backbone has made."""

    def __init__(self, memories: Sequence[Memory], embed: Embed) -> None:
        self._memories = memories
        self._embed = embed
        self._indexes = [FlatIndex(memory.position_keys) for memory in memories]

    def find(
        self,
        board: chess.Board,
        clock: int,
        k: int,
        filters: Filters | None = None,
        same_game: bool = False,
    ) -> list[Similar]:
        """The k remembered positions most like `board` with its clock byte, the most alike first.

        Only with `same_game` are there several of one game. Raises FilterError.
        """
        filters = filters or Filters()
        filters.check()
        planes = stack([pack(board)])
        embeddings = self._embed(planes, np.array([clock], np.uint8))
        found: list[Similar] = []
        for number, memory in enumerate(self._memories):
            query = memory.project(embeddings).reshape(1, -1)
            allowed = filters.allowed(memory, board)
            entries, differences, distances = self._nearest(number, query, planes[0], k, allowed, same_game)
            found += [
                Similar(**entry_fields(memory, entry, distance), difference=changed, memory=number, entry=entry)
                for entry, changed, distance in zip(entries, differences, distances, strict=True)
            ]
        return sorted(found, key=lambda item: (item.difference, item.distance))[:k]

    def _nearest(
        self,
        number: int,
        query: NDArray[np.float32],
        planes: NDArray[np.uint64],
        k: int,
        allowed: NDArray[np.bool_] | None,
        same_game: bool,
    ) -> tuple[list[int], list[int], list[float]]:
        """Entries of one memory, at most k, in order; their differences and distances."""
        memory = self._memories[number]
        available = len(memory) if allowed is None else int(allowed.sum())
        fetch = min(max(CANDIDATES, k), available)
        while True:
            if not fetch:
                return [], [], []
            found, nearest = self._indexes[number].search(query, fetch, allowed)
            entries, distances = nearest[0], found[0]
            differences = difference(memory.boards[entries], planes)
            order = np.lexsort((entries, distances, differences))
            if not same_game:
                _, first = np.unique(memory.game[entries[order]], return_index=True)
                order = order[np.sort(first)]
            if len(order) >= k or fetch == available:
                order = order[:k]
                return entries[order].tolist(), differences[order].tolist(), distances[order].tolist()
            fetch = min(4 * fetch, available)
