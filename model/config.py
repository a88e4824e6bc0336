"""The shape of a network, stored inside every weights file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args, get_type_hints

MEMORY_REACH = 5_000
"""Squared distance in key units up to which a remembered position is near enough to be asked. Farther ones have been
measured to say nothing (docs/history/retrieval.md), and most positions of a search have no nearer one."""

TOKENS = 64
"""n: tokens a board, one a square; from a1 along the ranks."""

# field -> (least, most): far above what was ever tried, and no more than a machine can hold
_BOUNDS = {
    "width": (1, 4096),
    "layers": (1, 256),
    "heads": (1, 64),
    "key_width": (0, 4096),
    "attack_width": (0, 1024),
    "dynamic_bias": (0, 256),
    "feed_forward_ratio": (1, 16),
    "policy_width": (1, 1024),
    "value_width": (1, 4096),
    "chunks": (1, 64),
    "neighbours": (1, 64),
    "neighbour_width": (1, 4096),
    "neighbour_layers": (1, 64),
    "neighbour_heads": (1, 64),
}


def squares_name(squares: Sequence[int]) -> str:
    """What a person calls the rectangle of squares that a chunk covers: "rank 3", "ranks 3-4", "a1-d2", "e4"."""
    first, last = min(squares), max(squares)
    (low, left), (high, right) = divmod(first, 8), divmod(last, 8)
    if (left, right) == (0, 7):
        return f"rank {low + 1}" if low == high else f"ranks {low + 1}-{high + 1}"
    corners = [f"{'abcdefgh'[file]}{rank + 1}" for file, rank in ((left, low), (right, high))]
    return "-".join(dict.fromkeys(corners))


@dataclass(frozen=True)
class NetworkConfig:
    """Every number that decides a tensor's shape."""

    layout: Literal["squares"] = "squares"
    """How the board is cut into tokens: a square each. Patches and ranks have been measured to play worse."""
    width: int = 128
    """d: numbers a token."""
    layers: int = 6
    """Transformer layers of the backbone."""
    heads: int = 4
    """Attention heads of the backbone and of the chunked cross-attention."""
    key_width: int = 0
    """Numbers by which a head of the backbone compares two squares; 0 for as many as it passes on. Half as many do as
    well (docs/history/narrow.md)."""
    attack_width: int = 32
    """Numbers a square sends along the board's attacks in every layer, to the squares it attacks and to those
    that attack it; 0 for none."""
    dynamic_bias: int = 0
    """g: numbers a head from which the backbone makes the part of its attention bias that depends on the position;
    0 for the static bias alone."""
    feed_forward_ratio: int = 1
    """Hidden width of a feed-forward block over the token width."""
    policy_width: int = 32
    """Numbers a square in the source-destination product of the policy head."""
    value_width: int = 128
    """Hidden width of the value head."""
    chunks: int = 8
    """l: chunks the tokens are cut into for retrieval; each has its own key and neighbours."""
    neighbours: int = 1
    """k: neighbours a chunk attends. One: the second neighbour of a remembered position is a sibling with another move,
    and has been measured to do harm (docs/history/retrieval.md)."""
    neighbour_width: int = 64
    """Numbers a token of an encoded neighbour."""
    neighbour_layers: int = 2
    """Transformer layers of the neighbour encoder."""
    neighbour_heads: int = 4
    """Attention heads of the neighbour encoder."""
    retrieve_by: Literal["position", "chunk"] = "position"
    """One search with all keys joined, its neighbours shared by the chunks, or one search a chunk (RETRO)."""
    shifted: bool = True
    """Chunked cross-attention shifted by m - 1 tokens as in RETRO; False lets a chunk attend its own neighbours."""
    interpolation: bool = False
    """Whether what the neighbours played and how they stood is added to policy and value, beside the attention;
    a matter of the second stage of the training, so that the first leaves it False."""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if choices := get_args(kind):
                if value not in choices:
                    raise ValueError(f"{name} is {value!r}, not one of {', '.join(choices)}")
            elif kind is bool:
                if type(value) is not bool:
                    raise ValueError(f"{name} is {value!r}, not true or false")
            else:
                least, most = _BOUNDS[name]
                if type(value) is not int or not least <= value <= most:
                    raise ValueError(f"{name} is {value!r}, not a whole number from {least} to {most}")
        if TOKENS % self.chunks or self.width % self.heads or self.neighbour_width % self.neighbour_heads:
            raise ValueError(f"chunks must divide the {TOKENS} tokens, and heads their width")

    @property
    def chunk_size(self) -> int:
        """m: tokens a chunk."""
        return TOKENS // self.chunks

    def chunk_squares(self, chunk: int) -> tuple[int, ...]:
        """The squares of chunk 0 .. l - 1 as the mover sees them: a rectangle, as tokens run along the ranks."""
        return tuple(range(chunk * self.chunk_size, (chunk + 1) * self.chunk_size))

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> NetworkConfig:
        """Raises ValueError for anything but a JSON object with known fields of the right type."""
        try:
            values = json.loads(text)
        except RecursionError:
            raise ValueError("not the fields of a network config") from None
        if not isinstance(values, dict) or not set(values) <= {field.name for field in fields(cls)}:
            raise ValueError("not the fields of a network config")
        return cls(**values)


PRESETS: dict[str, NetworkConfig] = {
    # Made to be trained and to play on a CPU.
    "small": NetworkConfig(dynamic_bias=16),
    # Made to be trained on a GPU and to play on a CPU.
    "medium": NetworkConfig(width=192, heads=6, attack_width=48, dynamic_bias=16),
    # For a GPU.
    "base": NetworkConfig(width=256, layers=8, heads=8, dynamic_bias=16, policy_width=128, neighbour_width=128),
    # For tests.
    "tiny": NetworkConfig(
        width=32, layers=2, heads=2, attack_width=8, policy_width=8, value_width=16, neighbour_width=16, chunks=4
    ),
}
