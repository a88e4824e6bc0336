"""Losses and measures of a batch."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor

from dejavu.model.network import Outputs
from dejavu.model.training.auxiliary import UNKNOWN, AuxiliaryHeads, auxiliary_loss
from dejavu.model.training.batches import Batch

TOTALS = 5
"""Numbers that an `Average` keeps."""


class Losses(NamedTuple):
    """Means over a batch; of the policy, over those positions where it is known."""

    policy: Tensor
    """Cross-entropy of the best move, or of a search's visits, among the legal moves, in nats."""
    value: Tensor
    """Cross-entropy of win, draw, loss less the target's own entropy, in nats."""
    top1: Tensor
    """Share of positions where the best legal move by policy is the target."""
    known: Tensor
    """Of how many positions the policy is known."""
    auxiliary: Tensor | None = None
    """What a network that learns to foresee adds."""

    @property
    def total(self) -> Tensor:
        total = self.policy + self.value
        return total if self.auxiliary is None else total + self.auxiliary


def losses(outputs: Outputs, batch: Batch) -> Losses:
    policy = outputs.policy.float().masked_fill(~batch.legal, float("-inf"))
    known = (batch.best != UNKNOWN).sum()
    if batch.policy is None:
        policy_loss = F.cross_entropy(policy, batch.best, ignore_index=UNKNOWN, reduction="sum") / known.clamp(min=1)
    else:
        log_policy = F.log_softmax(policy, dim=1).masked_fill(~batch.legal, 0.0)
        policy_loss = -(batch.policy * log_policy).sum() / known.clamp(min=1)
    log_wdl = F.log_softmax(outputs.wdl.float(), dim=1)
    value = F.kl_div(log_wdl, batch.wdl, reduction="batchmean")
    top1 = (policy.argmax(dim=1) == batch.best).sum() / known.clamp(min=1)
    return Losses(policy_loss, value, top1.detach(), known)


def losses_with_auxiliary(replica: AuxiliaryHeads, batch: Batch) -> Losses:
    """Of a network that learns to foresee; of policy and value alone where the batch does not say what to foresee."""
    outputs, predicted = replica(batch.inputs)
    found = losses(outputs, batch)
    if batch.continuation is None:
        return found
    return found._replace(auxiliary=auxiliary_loss(predicted, batch.continuation))


class Average:
    """Running mean of losses, weighted by the positions whose policy or value is known."""

    def __init__(self, device: torch.device) -> None:
        self.totals = torch.zeros(TOTALS, dtype=torch.float64, device=device)
        """Samples, those whose policy is known, and the sums of the losses over them; to be added up over ranks.

        Of so many digits that it does not show where a sum of several was put together: after a kill, or by ranks.
        """

    def add(self, item: Losses, samples: int) -> None:
        policy, value, top1 = item.policy * item.known, item.value * samples, item.top1 * item.known
        self.totals += torch.stack([torch.full_like(value, samples), item.known, policy, value, top1]).detach()

    def means(self) -> tuple[float, float, float]:
        """Policy loss, value loss, top-1."""
        samples, known, policy, value, top1 = self.totals.tolist()
        return policy / max(known, 1), value / max(samples, 1), top1 / max(known, 1)
