"""The whole forward pass: features -> backbone -> (retrieval) -> policy and value."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from dejavu.model.backbone import Backbone, Inputs
from dejavu.model.chunked_cross_attention import EncodedNeighbours, RetrievalLayer
from dejavu.model.config import NetworkConfig
from dejavu.model.heads import PolicyHead, ValueHead
from dejavu.model.interpolation import Interpolation
from dejavu.model.neighbour_encoder import NeighbourEncoder


class Outputs(NamedTuple):
    """Logits for B positions."""

    policy: Tensor
    """[B, POLICY_SIZE], illegal moves included."""
    wdl: Tensor
    """[B, 3] win, draw, loss from the side to move."""


class Retrieval(nn.Module):
    """The second stage: everything that is trained on top of a frozen backbone."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.encoder = NeighbourEncoder(config)
        self.layer = RetrievalLayer(config)
        self.interpolation = Interpolation(config) if config.interpolation else None


class Network(nn.Module):
    """Backbone and heads, and between them the retrieval part where the network has one."""

    def __init__(self, config: NetworkConfig, retrieval: bool) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.norm = nn.LayerNorm(config.width)
        self.policy = PolicyHead(config)
        self.value = ValueHead(config)
        self.retrieval = Retrieval(config) if retrieval else None

    def forward(self, inputs: Inputs) -> Outputs:
        """The network without memory."""
        return self.heads(self.backbone(inputs))

    def heads(self, x: Tensor, neighbours: EncodedNeighbours | None = None) -> Outputs:
        """H [B, n, d] and the encoded neighbours, if any, -> logits."""
        if neighbours is None or self.retrieval is None:
            x = self.norm(x)
            return Outputs(self.policy(x), self.value(x))
        x = self.norm(self.retrieval.layer(x, neighbours))
        outputs = Outputs(self.policy(x), self.value(x))
        if self.retrieval.interpolation is None:
            return outputs
        gains = self.retrieval.interpolation(neighbours)
        return Outputs(outputs.policy + gains.policy, outputs.wdl + gains.wdl)

    def chunk_embeddings(self, x: Tensor) -> Tensor:
        """H [B, n, d] -> [B, l, m * d]: the normalised tokens of every chunk side by side, for the keys."""
        embeddings: Tensor = self.norm(x).view(x.shape[0], self.config.chunks, -1)
        return embeddings
