"""The mean of several nets that were trained on from the same one: better than each of them where they have learnt of
different data (Wortsman et al. 2022, model soups)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import torch

from dejavu.model.network import Network
from dejavu.model.weights import WeightsError, load_weights, save_weights


def average(paths: Sequence[Path], out: Path, name: str, command: str) -> str:
    """Write the mean of all weights of backbones and heads; what came of it, in a sentence.

    Raises WeightsError, for files with a retrieval part or of different configs as well, and WriteError.
    """
    networks = [load_weights(path)[0] for path in paths]
    config = networks[0].config
    for path, network in zip(paths, networks, strict=True):
        if network.retrieval is not None:
            raise WeightsError(f"{path} has a retrieval part, which belongs to its own backbone")
        if network.config != config:
            raise WeightsError(f"{path} is another kind of network than {paths[0]}")
    states = [network.state_dict() for network in networks]
    mean = Network(config, retrieval=False)
    mean.load_state_dict({key: torch.stack([state[key].float() for state in states]).mean(dim=0) for key in states[0]})
    training = {"command": command, "name": name, "date": datetime.now(timezone.utc).date().isoformat()}
    save_weights(out, mean, config, {key: value for key, value in training.items() if value})
    return f"wrote {out}, the mean of {len(paths)} nets"
