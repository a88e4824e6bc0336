"""scripts/compare.py: nets on the same positions, and their differences."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from training import run_script

from dejavu.model.config import PRESETS
from dejavu.model.data.dataset import DatasetError
from dejavu.model.measurement.compare import CompareReport, CompareRun, compare
from dejavu.model.network import Network
from dejavu.model.weights import save_weights


def saved(path: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    save_weights(path, Network(PRESETS["tiny"], retrieval=False), PRESETS["tiny"], {})
    return path


def test_differences_are_of_the_same_positions() -> None:
    one = np.array([[1.0, 0.5, 0, 1], [3.0, 0.1, 1, 1]])
    other = one + np.array([[0.2, 0, 0, 0], [0.4, 0, 0, 0]])
    report = CompareReport({"one": one, "other": other})
    assert np.allclose(report.changes()["other"][:, 0], [0.2, 0.4])
    assert "+0.3000 +- 0.0707" in str(report).splitlines()[-1]  # the losses by themselves have 1 and more


def test_nets_are_compared_with_the_first(tmp_path: Path, data: Path) -> None:
    one, other = saved(tmp_path / "one.safetensors", 1), saved(tmp_path / "other.safetensors", 2)
    report = compare(CompareRun(data, [one, other]))
    assert list(report.measured) == [str(one), str(other)]
    changes = report.changes()[str(other)]
    assert np.abs(changes[:, 0]).max() > 0
    figures = tmp_path / "figures.json"
    done = run_script("compare.py", one, other, "--data", data, "--json", figures)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())["minus the first"][str(other)]
    assert found["policy_loss"]["mean"] == pytest.approx(changes[:, 0].mean(), abs=1e-3)  # bfloat16, other threads


def test_what_cannot_be_compared_is_said_in_a_sentence(tmp_path: Path, data: Path) -> None:
    missing = tmp_path / "missing.safetensors"
    done = run_script("compare.py", missing, "--data", data)
    assert done.returncode == 1
    assert done.stderr == f"compare: weights file {missing} does not exist\n"
    with pytest.raises(DatasetError, match="has no held-out positions of nobody"):
        compare(CompareRun(data, [saved(tmp_path / "net.safetensors", 1)], source="nobody"))
