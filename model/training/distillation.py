"""A network that learns of a trained one, its teacher, beside the data (Hinton et al. 2015; the tokens as in FitNets,
Romero et al. 2015).

The data say one move of thirty and how it stood; a teacher says of every move how good it is, and in its tokens all
else that it sees. So a net of fewer layers becomes nearly as good as its teacher with a small part of the samples that
the teacher had. The teacher is left behind when the training is over. B positions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from torch import Tensor, nn

from dejavu.model.backbone import Inputs
from dejavu.model.network import Network, Outputs
from dejavu.model.training.batches import Batch
from dejavu.model.training.losses import Losses, losses

WEIGHT = 2.0
"""Of the three losses against the teacher, beside policy and value of the data with weight 1."""
CONTRADICTED = 0.3
"""Difference in Q from the data, beyond which the teacher's value teaches nothing: there the data put it right."""
_ILLEGAL = -1e9


class Opinion(NamedTuple):
    """What a network makes of B positions."""

    tokens: Tensor
    """[B, n, d] normalised, as the heads read them."""
    outputs: Outputs

    @classmethod
    def of(cls, network: Network, inputs: Inputs) -> Opinion:
        tokens = network.norm(network.backbone(inputs))
        return cls(tokens, Outputs(network.policy(tokens), network.value(tokens)))


class Student(nn.Module):
    """A network while it is trained, with its teacher, which stays as it is."""

    def __init__(self, network: Network, teacher: Network) -> None:
        """Raises ValueError if the teacher's tokens are of another width."""
        super().__init__()
        if teacher.config.width != network.config.width:
            raise ValueError(
                f"the teacher has tokens of {teacher.config.width} numbers, the network of {network.config.width}"
            )
        self.network = network
        self.teacher = teacher.requires_grad_(False)

    def forward(self, inputs: Inputs) -> tuple[Opinion, Opinion]:
        """Its own opinion, and the teacher's."""
        own = Opinion.of(self.network, inputs)
        with torch.no_grad():
            taught = Opinion.of(self.teacher, inputs)
        return own, taught


def losses_with_teacher(student: Student, batch: Batch) -> Losses:
    """Of the data, and as `auxiliary` those against the teacher."""
    own, taught = student(batch.inputs)
    return losses(own.outputs, batch)._replace(auxiliary=WEIGHT * disagreement(own, taught, batch.legal, batch.wdl))


def disagreement(own: Opinion, taught: Opinion, legal: Tensor, wdl: Tensor) -> Tensor:
    """Divergence from the teacher's policy among the `legal` [B, POLICY_SIZE] moves and from its win, draw and loss, in
    nats, and the mean squared difference of a number of a token; added up. 0 where both are of one opinion.

    Where the teacher's value contradicts that of the data, `wdl` [B, 3], it does not count."""
    policies = (opinion.outputs.policy.float().masked_fill(~legal, _ILLEGAL) for opinion in (own, taught))
    values = [opinion.outputs.wdl.float() for opinion in (own, taught)]
    agreed = (_q(values[1].softmax(dim=1)) - _q(wdl)).abs() <= CONTRADICTED  # [B]
    value = (_divergence(*values) * agreed).mean()
    return _divergence(*policies).mean() + value + F.mse_loss(own.tokens.float(), taught.tokens.float())


def _divergence(own: Tensor, taught: Tensor) -> Tensor:
    """[B] of two distributions each by their logits [B, ...]."""
    log_own, log_taught = F.log_softmax(own, dim=1), F.log_softmax(taught, dim=1)
    return F.kl_div(log_own, log_taught, log_target=True, reduction="none").sum(dim=1)


def _q(wdl: Tensor) -> Tensor:
    """Win, draw, loss [B, 3] -> [B] what is won less what is lost."""
    return wdl[:, 0] - wdl[:, 2]
