"""What the memory does to one position: its neighbours, and how much each of them moves the policy and the value."""

from __future__ import annotations

from dataclasses import dataclass

import chess
import numpy as np
import torch
from numpy.typing import NDArray

from dejavu.model.backbone import as_inputs
from dejavu.model.chess.attacks import Planes, legal_moves
from dejavu.model.chess.features import features
from dejavu.model.config import squares_name
from dejavu.model.neighbours import Neighbours, Retriever, arrange, read_records
from dejavu.model.network import Network
from dejavu.model.remembered import Remembered, Wdl, entry_fields
from dejavu.retrieval.segments import Entries


@dataclass(frozen=True)
class NeighbourDescription(Remembered):
    """One neighbour of a position, for a person to read."""

    squares: tuple[int, ...] | None
    """The chunk of the position that it is near to, as its mover sees it; None if the chunks share their neighbours."""
    policy_change: float
    """Share of the policy that lies on other moves than it would without this neighbour, 0 to 1."""
    value_change: float
    """What win minus loss would be less without it."""

    @property
    def counted(self) -> bool:
        """Whether it changed anything; one that is not asked changes nothing at all."""
        return self.policy_change != 0 or self.value_change != 0

    def chunk(self, asked: chess.Board) -> str:
        """The name of the chunk's squares on the board that was `asked` about; none if the chunks share neighbours."""
        flip = 0 if asked.turn == chess.WHITE else 56
        return "" if self.squares is None else squares_name([square ^ flip for square in self.squares])

    def describe(self, asked: chess.Board) -> str:
        """One line, in the colours of the position that was `asked` about."""
        evaluated = "not evaluated"
        if self.is_evaluated:
            evaluated = "wdl {} {} {}".format(*(round(1000 * share) for share in self.wdl))
        chunk = self.chunk(asked)
        return (
            f"distance {self.distance:.0f} {f'on {chunk} ' if chunk else ''}"
            f"policy {self.policy_change:.1%} value {self.value_change:+.3f} "
            f"{evaluated} moves {self.line(asked) or '(no moves)'} game {self.game} "
            f"fen {self.board(asked).fen()}"
        )


@dataclass(frozen=True)
class MoveChange:
    """A legal move and its share of the policy."""

    move: int
    """Policy index."""
    with_memory: float
    without_memory: float


@dataclass(frozen=True)
class Explanation:
    """What the network says of a position, with its memory and without."""

    moves: tuple[MoveChange, ...]
    """All legal moves, the likeliest with memory first."""
    with_memory: Wdl
    without_memory: Wdl
    neighbours: tuple[NeighbourDescription, ...]
    """By chunk, nearest first."""


def explain(
    network: Network, retriever: Retriever, planes: Planes, clocks: NDArray[np.uint8], reach: float
) -> Explanation:
    """Explain one position: planes [1, 4], clock byte [1]. Without a neighbour within `reach` the memory does nothing.

    The influence of a neighbour is measured by leaving out this one alone (leave-one-out).
    """
    assert network.retrieval is not None
    with torch.inference_mode():
        hidden = network.backbone(as_inputs(features(planes, clocks), torch.device("cpu")))
        found = retriever.search(network.chunk_embeddings(hidden).float().numpy())
        found_at = np.argwhere(found.entries[0] >= 0)  # [N, 2] chunk and rank of every neighbour
        # One row with all neighbours, then one without each of them.
        rows = np.zeros(1 + len(found_at), dtype=np.int64)
        records = read_records(retriever.entries, np.maximum(found.entries[0], 0).ravel())
        tokens = network.retrieval.encoder(records)
        where = torch.arange(found.entries[0].size).view(1, *found.entries.shape[1:])
        neighbours = found.take(rows)
        for row, (chunk, rank) in enumerate(found_at, start=1):
            neighbours.entries[row, chunk, rank] = -1
        encoded = arrange(tokens, where.expand(len(rows), -1, -1), neighbours)
        is_asked = bool(found.within(reach)[0] and retriever.may_know(planes, reach)[0])
        asked = network.heads(hidden.expand(len(rows), -1, -1), encoded if is_asked else None)
        bare = network.heads(hidden)
        legal = legal_moves(planes).moves.astype(np.int64)
        logits = torch.cat([asked.policy, bare.policy])[:, torch.from_numpy(legal)]
        policy = logits.float().softmax(dim=1).numpy()
        wdl = torch.cat([asked.wdl, bare.wdl]).float().softmax(dim=1).numpy()
    policy_changes = np.abs(policy[0] - policy[1:-1]).sum(axis=1) / 2
    values = wdl[:, 0] - wdl[:, 2]
    order = np.argsort(-policy[0], kind="stable") if len(legal) else legal
    return Explanation(
        moves=tuple(MoveChange(int(legal[i]), float(policy[0, i]), float(policy[-1, i])) for i in order),
        with_memory=_as_wdl(wdl[0]),
        without_memory=_as_wdl(wdl[-1]),
        neighbours=tuple(
            _describe(
                retriever.entries,
                found,
                chunk,
                rank,
                network.config.chunk_squares(chunk) if retriever.by_chunk else None,
                float(policy_changes[i]),
                float(values[0] - values[i + 1]),
            )
            for i, (chunk, rank) in enumerate(found_at.tolist())
        ),
    )


def _as_wdl(wdl: NDArray[np.float32]) -> Wdl:
    win, draw, loss = wdl.tolist()
    return win, draw, loss


def _describe(
    memory: Entries,
    found: Neighbours,
    chunk: int,
    rank: int,
    squares: tuple[int, ...] | None,
    policy_change: float,
    value_change: float,
) -> NeighbourDescription:
    entry = int(found.entries[0, chunk, rank])
    return NeighbourDescription(
        **entry_fields(memory, entry, float(found.distances[0, chunk, rank])),
        squares=squares,
        policy_change=policy_change,
        value_change=value_change,
    )
