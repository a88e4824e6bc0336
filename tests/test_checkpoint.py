"""Checkpoints: what is saved comes back, and what does not fit the run is refused with one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dejavu.model.training.checkpoint import FORMAT, CheckpointError, MasterWeights, load_checkpoint, save_checkpoint
from dejavu.model.training.ranks import Ranks

SETTINGS = {"schedule": "a test"}


def settings_at(step: int) -> dict[str, str]:
    return SETTINGS


SUMS = torch.tensor([64.0, 48.0, 1.0, 2.0, 3.0], dtype=torch.float64)
"""Of the row of the log that was begun."""


def masters(seed: int) -> MasterWeights:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    made = MasterWeights(dict(module.named_parameters()), 0.1, 0.1, 0.9)
    module(torch.randn(3, 4)).square().sum().backward()
    made.step(0.1, 1.0, Ranks())
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "checkpoint.safetensors", masters(0), SUMS, 1, SETTINGS)
    return tmp_path / "checkpoint.safetensors"


def test_a_checkpoint_comes_back(path: Path) -> None:
    expected, found = masters(0), masters(1)
    step, sums = load_checkpoint(path, found, settings_at)
    assert step == 1
    assert torch.equal(sums, SUMS)
    assert all(torch.equal(found.weights[name], value) for name, value in expected.weights.items())
    assert all(torch.equal(found.averages[name], value) for name, value in expected.averages.items())


@pytest.mark.parametrize(
    "changes",
    [
        {"weights.0.weight": None},
        {"averages.1.bias": None},
        {"weights.0.weight": torch.zeros(1, 4)},  # which would be broadcast
        {"weights.0.bias": torch.zeros(4, dtype=torch.bfloat16)},
        {"weights.9.weight": torch.zeros(4, 4)},
        {"optimizer.exp_avg.0.bias": torch.zeros(5)},
        {"optimizer.exp_avg.9.bias": torch.zeros(4)},
        {"log.totals": torch.zeros(3, dtype=torch.float64)},
        {"log.totals": torch.zeros(4)},
    ],
    ids=str,
)
def test_tensors_that_are_not_those_of_the_run_are_refused(path: Path, changes: dict[str, Tensor | None]) -> None:
    tensors = {name: value for name, value in (load_file(path) | changes).items() if value is not None}
    save_file(tensors, path, {"format": FORMAT, "step": "1", **SETTINGS})
    assert_refused(path)


@pytest.mark.parametrize("step", ["", "-1", "1.5", "9" * 5000, "\u0662"])
def test_a_step_that_cannot_be_is_refused(path: Path, step: str) -> None:
    save_file(load_file(path), path, {"format": FORMAT, "step": step, **SETTINGS})
    assert_refused(path)


def assert_refused(path: Path) -> None:
    run = masters(1)
    before = {name: value.clone() for name, value in run.weights.items()}
    with pytest.raises(CheckpointError, match=r"checkpoint\.safetensors is damaged") as caught:
        load_checkpoint(path, run, settings_at)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(run.weights[name], value) for name, value in before.items())
