"""What a network learns to foresee while it is trained, beside policy and value: more to learn from every position.

Two heads on the tokens tell how the game goes on: the opponent's reply, and what stands on every square four plies on.
So the tokens have to know what is about to be taken and where the pieces are going, which policy and value need to
know too; as targets of a few numbers they say it far less often. (After KataGo's auxiliary targets, Wu 2019.) The heads
are left behind when the training is over.

A position has these targets where its game went on as the teacher would have: the reply if the move played is the best
one known, the board if the next four are. B positions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from numpy.typing import NDArray
from torch import Tensor, nn

from dejavu.model.backbone import Inputs
from dejavu.model.chess.attacks import piece_codes
from dejavu.model.chess.encoding import MIRRORED_MOVES, UNDERPROMOTION_OFFSET, mirror
from dejavu.model.data.dataset import Dataset
from dejavu.model.heads import PolicyHead
from dejavu.model.network import Network, Outputs

PLIES = 4
"""How far the board is predicted: even, so that the same side is to move and the board is seen from the same end."""
PIECE_CODES = 16
WEIGHT = 0.3
"""Of either loss, beside policy and value of weight 1."""
UNKNOWN = -1
OTHER_END = 56 * 64 + 56
"""Both squares of a move as the other side numbers them, by exclusive or."""


class Continuation(NamedTuple):
    """How the games of B positions went on."""

    reply: Tensor
    """[B] policy index of the best reply to the best move, as the mover numbers the squares; UNKNOWN."""
    codes: Tensor
    """[B, 64] piece codes of the board PLIES later; UNKNOWN."""


def continuation(dataset: Dataset, rows: NDArray[np.int64], mirrored: NDArray[np.bool_]) -> Continuation:
    """What there is to foresee at `rows` [B], the `mirrored` [B] ones with the files swapped."""
    last = len(dataset) - 1
    as_taught = np.ones(len(rows), np.bool_)
    goes_on = []
    for ply in range(PLIES):
        at, after = np.minimum(rows + ply, last), np.minimum(rows + ply + 1, last)
        as_taught &= (dataset.played[at] == dataset.best[at]) & (after > at) & (dataset.game[after] == dataset.game[at])
        goes_on.append(as_taught.copy())

    reply = dataset.best[np.minimum(rows + 1, last)]
    reply = np.where(mirrored, MIRRORED_MOVES[np.minimum(reply, len(MIRRORED_MOVES) - 1)], reply).astype(np.int64)
    has_reply = goes_on[0] & (reply < UNDERPROMOTION_OFFSET)  # the others are numbered by files alone

    planes = dataset.planes[np.minimum(rows + PLIES, last)]
    planes[mirrored] = mirror(planes[mirrored])
    codes = piece_codes(planes).astype(np.int64)
    return Continuation(
        torch.from_numpy(np.where(has_reply, reply ^ OTHER_END, UNKNOWN)),
        torch.from_numpy(np.where(goes_on[-1][:, None], codes, UNKNOWN)),
    )


class Predicted(NamedTuple):
    """Logits for B positions."""

    reply: Tensor
    """[B, POLICY_SIZE]"""
    codes: Tensor
    """[B, 64, PIECE_CODES], a1 first."""


class AuxiliaryHeads(nn.Module):
    """A network while it is trained, with the heads that foresee."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        config = network.config
        self.network = network
        self.reply = PolicyHead(config)
        self.codes = nn.Linear(config.width, PIECE_CODES)

    def forward(self, inputs: Inputs) -> tuple[Outputs, Predicted]:
        x = self.network.norm(self.network.backbone(inputs))  # [B, n, d]
        return Outputs(self.network.policy(x), self.network.value(x)), Predicted(self.reply(x), self.codes(x))


def auxiliary_loss(predicted: Predicted, truth: Continuation) -> Tensor:
    """Weighted sum of both cross-entropies, each a mean over what is known; 0 if nothing is."""
    reply = F.cross_entropy(predicted.reply.float(), truth.reply, ignore_index=UNKNOWN, reduction="sum")
    codes = F.cross_entropy(
        predicted.codes.float().flatten(0, 1), truth.codes.flatten(), ignore_index=UNKNOWN, reduction="sum"
    )
    known = [(part != UNKNOWN).sum().clamp(min=1) for part in truth]
    return WEIGHT * (reply / known[0] + codes / known[1])
