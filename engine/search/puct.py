"""PUCT: which child a walk goes to (lc0's formulas)."""

from __future__ import annotations

import math

from dejavu.engine.options import Config


def exploration(visits: int, config: Config) -> float:
    """What P / (1 + N) of a child is multiplied by, under a parent with so many visits: U grows with it."""
    cpuct = config.cpuct + config.cpuct_factor * math.log((visits + config.cpuct_base) / config.cpuct_base)
    return cpuct * math.sqrt(max(visits - 1, 1))


def first_play_urgency(q: float, visited_policy: float, config: Config) -> float:
    """Q of a child without a visit: that of its parent, less the more of the policy was visited (FPU by reduction)."""
    return q - config.fpu_value * math.sqrt(visited_policy)
