"""Noise on the priors of the root, so that self-play also tries what the network does not think of (AlphaZero, lc0)."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RootNoise:
    """A draw from a symmetric Dirichlet distribution, mixed into P."""

    share: float
    """Of the noise in the mixture, 0 to 1 (lc0's epsilon)."""
    alpha: float
    """Concentration: the smaller, the fewer moves share the noise."""
    generator: random.Random

    def mixed(self, priors: NDArray[np.float32]) -> NDArray[np.float32]:
        """P [M], M at least 1, with noise; its sum stays what it was if that is 1."""
        # Gamma variates divided by their sum are a draw from the Dirichlet distribution.
        draws = np.array([self.generator.gammavariate(self.alpha, 1.0) for _ in priors])
        total = draws.sum()
        if not total > 0:  # with a small alpha all of them may underflow
            return priors
        mixture: NDArray[np.float32] = ((1 - self.share) * priors + self.share * draws / total).astype(np.float32)
        return mixture
