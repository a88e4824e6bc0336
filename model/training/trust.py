"""A net that trusts what it remembers more, or less, than it has learnt to.

The training asks how well a remembered move foretells the moves of games. A search asks what is worth looking at first:
with more trust than is learnt it chooses better moves where a position is remembered (docs/history/trust.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch

from dejavu.model.interpolation import Interpolation
from dejavu.model.weights import WeightsError, load_weights, save_weights

_KEY = "training."


def change_trust(path: Path, factor: float, out: Path, name: str, command: str) -> str:
    """Write the net of `path` with the odds of every remembered move of the very position multiplied by `factor`.

    What came of it, in a sentence. Raises WeightsError, for nets without interpolation as well, and WriteError.
    """
    network, metadata = load_weights(path)
    if network.retrieval is None or network.retrieval.interpolation is None:
        raise WeightsError(f"{path} has no interpolation, so it trusts in no remembered move")
    multiply_odds(network.retrieval.interpolation, factor)
    training = {key.removeprefix(_KEY): value for key, value in metadata.items() if key.startswith(_KEY)}
    total = changed_by(metadata) * factor
    training |= {"trust": f"{total:g}", "trust_command": command} | ({"name": name} if name else {})
    save_weights(out, network, network.config, training)
    return f"wrote {out}: the odds of a remembered move are {total:g} times those that were learnt"


def changed_by(metadata: Mapping[str, str]) -> float:
    """What the odds of a net were multiplied by since it learned them, by its file's metadata."""
    return float(metadata.get(f"{_KEY}trust", 1.0))


@torch.no_grad()
def multiply_odds(interpolation: Interpolation, factor: float) -> None:
    """Those of the remembered moves, where the very position is remembered; by less the further away it is."""
    interpolation.trust.bias[0] += math.log(factor)
