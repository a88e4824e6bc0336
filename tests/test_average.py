"""scripts/average.py: the mean of nets, and which nets have none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training import run_script

from dejavu.model.config import PRESETS
from dejavu.model.network import Network
from dejavu.model.training.average import average
from dejavu.model.weights import WeightsError, load_weights, save_weights

TINY = PRESETS["tiny"]


def saved(path: Path, seed: int, width: int = TINY.width, retrieval: bool = False) -> Path:
    torch.manual_seed(seed)
    config = replace(TINY, width=width)
    save_weights(path, Network(config, retrieval), config, {})
    return path


def test_every_weight_is_the_mean_of_the_nets(tmp_path: Path) -> None:
    nets = [saved(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2, 3)]
    out = tmp_path / "mean.safetensors"
    done = run_script("average.py", *nets, "--out", out, "--name", "three-in-one")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"wrote {out}, the mean of 3 nets\n"
    mean, metadata = load_weights(out)
    states = [load_weights(net)[0].state_dict() for net in nets]
    for key, value in mean.state_dict().items():
        exact = sum(state[key].float() for state in states) / 3
        assert torch.equal(value, exact.to(torch.bfloat16)), key
    assert metadata["training.name"] == "three-in-one"
    assert metadata["training.command"].startswith("average.py ")


@pytest.mark.parametrize(
    ("width", "retrieval", "problem"),
    [
        (2 * TINY.width, False, "{} is another kind of network than {}"),
        (TINY.width, True, "{} has a retrieval part, which belongs to its own backbone"),
    ],
)
def test_what_has_no_mean_is_refused_in_a_sentence(tmp_path: Path, width: int, retrieval: bool, problem: str) -> None:
    first = saved(tmp_path / "first.safetensors", 1)
    second = saved(tmp_path / "second.safetensors", 2, width, retrieval)
    out = tmp_path / "mean.safetensors"
    with pytest.raises(WeightsError) as refused:
        average([first, second], out, "", "")
    assert str(refused.value) == problem.format(second, first)
    assert not out.exists()
