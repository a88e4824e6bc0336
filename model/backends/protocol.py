"""What every backend can do, and what it answers. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dejavu.model.chess.features import Features
    from dejavu.model.neighbours import EncodedArrays, RecordArrays


class BackendError(ValueError):
    """A backend that cannot be used here; the message is one sentence for the user, without its name."""


class Logits(NamedTuple):
    """The network's answer for B positions."""

    policy: NDArray[np.float32]
    """[B, POLICY_SIZE], illegal moves included."""
    wdl: NDArray[np.float32]
    """[B, 3]"""

    @property
    def chances(self) -> NDArray[np.float32]:
        """[B, 3] win, draw and loss of the player to move."""
        weights = np.exp(self.wdl - self.wdl.max(axis=1, keepdims=True))
        chances: NDArray[np.float32] = weights / weights.sum(axis=1, keepdims=True)
        return chances


class Backend(Protocol):
    """The parts of a network's forward pass. Several threads may call at once, each with a part of a batch.

    What a method returns may be overwritten by the same thread's next call of that method.
    """

    name: str
    """One of PREFERENCE."""
    precision: str
    """What the products are computed in, for a person to read."""
    parts: int
    """Into how many parts, each called for from a thread of its own, a batch is best cut."""

    def embed(self, features: Features) -> Any:
        """The backbone: B positions -> H in the backend's own form, for the next three methods."""

    def chunk_embeddings(self, hidden: Any) -> NDArray[np.float32]:
        """H -> [B, l, m * d], what the keys of a memory are made of."""

    def take(self, hidden: Any, rows: NDArray[np.intp]) -> Any:
        """H of some of the positions."""

    def heads(self, hidden: Any, neighbours: EncodedArrays | None) -> Logits:
        """H and the encoded neighbours, if any -> logits."""

    def encode(self, records: RecordArrays) -> NDArray[np.float32]:
        """The neighbour encoder: N records -> [N, r, c], as `heads` wants them."""
