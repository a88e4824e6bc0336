"""Playing at a chosen strength: how many nodes, and how soft a choice of the move, stand for a UCI_Elo.

The scale is that of Stockfish 15.1's UCI_Elo. `scripts/calibrate.py` measures each anchor against it; after a new net
the Elo column has to be written anew.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple


class Strength(NamedTuple):
    """A way to play."""

    elo: int
    nodes: int
    temperature: float
    """Of the choice among root moves; 0 plays the best."""


ANCHORS = (
    Strength(865, 1, 1.5),
    Strength(1250, 1, 1.0),
    Strength(1365, 1, 0.75),
    Strength(1505, 1, 0.5),
    Strength(1600, 1, 0.0),
    Strength(1815, 10, 0.0),
    Strength(1935, 50, 0.0),
    Strength(2155, 400, 0.0),
)
"""Strengths, weakest first; docs/options.md says how well they are measured.

Below the strength of one node only a softer choice is weaker.
"""

WEAKEST, STRONGEST = ANCHORS[0].elo, ANCHORS[-1].elo


def strength(elo: int) -> Strength:
    """The way to play at `elo`, between `WEAKEST` and `STRONGEST`: linear between anchors, nodes by their logarithm."""
    for lower, upper in itertools.pairwise(ANCHORS):
        if elo <= upper.elo:
            share = (elo - lower.elo) / (upper.elo - lower.elo)
            nodes = math.exp((1 - share) * math.log(lower.nodes) + share * math.log(upper.nodes))
            return Strength(elo, round(nodes), (1 - share) * lower.temperature + share * upper.temperature)
    return ANCHORS[-1]
