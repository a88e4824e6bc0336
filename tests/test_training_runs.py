"""Runs of train.py: resumed after a kill, begun from an earlier run, refused."""

from __future__ import annotations

import csv
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training import SCRIPTS, TINY, curve, train, train_retrieval

from dejavu.model.inference import NetworkEvaluator
from dejavu.model.training.loop import Log


def test_a_run_starts_from_the_weights_of_an_earlier_one(data: Path, backbone: Path, tmp_path: Path) -> None:
    earlier = backbone / "weights.safetensors"
    options = [*TINY[2:-1], "1e-9", "--start-from", earlier]
    train("backbone", "--data", data, "--run", tmp_path, "--steps", 1, *options)
    expected, found = load_file(earlier), load_file(tmp_path / "weights.safetensors")
    assert all(torch.allclose(found[name].float(), value.float(), atol=1e-3) for name, value in expected.items())


def test_a_net_is_shown_by_the_name_and_date_of_its_run(data: Path, backbone: Path, tmp_path: Path) -> None:
    train("backbone", "--data", data, "--run", tmp_path, "--steps", 1, "--name", "rook-7", *TINY)
    shown = NetworkEvaluator.load(tmp_path / "weights.safetensors", None, threads=1).describe()
    assert re.match(r"network rook-7 of 20\d\d-\d\d-\d\d \(", shown)
    assert "weights.safetensors" in NetworkEvaluator.load(backbone / "weights.safetensors", None, threads=1).describe()


def test_a_killed_run_resumes_to_the_same_curve_and_weights(data: Path, backbone: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(SCRIPTS / "train.py"),
        "backbone",
        "--data",
        str(data),
        "--run",
        str(tmp_path),
        "--steps",
        "12",
        *TINY,
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    process.wait()
    assert not (tmp_path / "weights.safetensors").exists()
    resumed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "resumed" in resumed.stdout
    assert curve(tmp_path) == curve(backbone)
    expected, found = load_file(backbone / "weights.safetensors"), load_file(tmp_path / "weights.safetensors")
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_a_run_keeps_the_weights_of_before_its_rate_fell(data: Path, backbone: Path, tmp_path: Path) -> None:
    never_falls = ["--steps", 6, "--decay", 1e-9, *TINY]
    train("backbone", "--data", data, "--run", tmp_path, *never_falls)
    expected, found = load_file(tmp_path / "weights.safetensors"), load_file(backbone / "undecayed.safetensors")
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_run_killed_right_after_it_went_on_loses_nothing_of_its_log(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    first = Log(path, 0, writes=True)
    first.write(step=5, seconds=1.0)
    first.write(step=10, seconds=2.0)
    goes_on = Log(path, 5, writes=True)
    assert goes_on.seconds == 1.0
    with path.open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["5"]


def test_training_learns(data: Path, tmp_path: Path) -> None:
    train(
        "backbone",
        "--data",
        data,
        "--run",
        tmp_path,
        "--steps",
        150,
        *TINY[:-4],
        "--evaluate-every",
        "150",
        "--learning-rate",
        "0.003",
    )
    with (tmp_path / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["50", "100", "150"]
    assert float(rows[-1]["policy_loss"]) < float(rows[0]["policy_loss"]) - 0.1
    assert float(rows[-1]["value_loss"]) < float(rows[0]["value_loss"])


def test_a_checkpoint_of_another_run_is_refused(data: Path, backbone: Path) -> None:
    with pytest.raises(SystemExit, match="schedule"):
        train("backbone", "--data", data, "--run", backbone, "--steps", 13, *TINY)


def test_stage_two_keeps_the_backbone_and_resumes(retrieval: Path, backbone: Path, data: Path, memory: Path) -> None:
    stage1, stage2 = load_file(backbone / "weights.safetensors"), load_file(retrieval / "weights.safetensors")
    assert all(torch.equal(stage2[name], value) for name, value in stage1.items())
    assert stage2["retrieval.layer.attention.out.weight"].abs().sum() > 0
    (retrieval / "weights.safetensors").unlink()
    train_retrieval(data, backbone, memory, retrieval, "--steps", 12)
    again = load_file(retrieval / "weights.safetensors")
    assert all(torch.equal(again[name], value) for name, value in stage2.items())


def test_the_retrieval_part_goes_on_from_that_of_an_earlier_net(
    retrieval: Path, backbone: Path, data: Path, memory: Path, tmp_path: Path
) -> None:
    standing_still = ["--steps", 1, "--learning-rate", 1e-12]
    on, anew = tmp_path / "on", tmp_path / "anew"
    train_retrieval(data, backbone, memory, on, *standing_still, "--start-from", retrieval / "weights.safetensors")
    train_retrieval(data, backbone, memory, anew, *standing_still)
    assert curve(on)[-1][1:] == curve(retrieval)[-1][1:] != curve(anew)[-1][1:]
    earlier, found = load_file(retrieval / "weights.safetensors"), load_file(on / "weights.safetensors")
    assert all(torch.equal(found[name], value) for name, value in earlier.items())


@pytest.mark.parametrize(
    ("net", "options", "complaint"),
    [
        ("stage2", ["--neighbour-width", 32], "the retrieval part of .*weights.safetensors has another shape"),
        ("stage1", [], "weights.safetensors has no retrieval part to go on from"),
        ("nowhere", [], "weights.safetensors does not exist"),
    ],
)
def test_a_net_without_such_a_retrieval_part_is_refused(
    retrieval: Path,
    backbone: Path,
    data: Path,
    memory: Path,
    tmp_path: Path,
    net: str,
    options: list[object],
    complaint: str,
) -> None:
    earlier = {"stage1": backbone, "stage2": retrieval}.get(net, tmp_path) / "weights.safetensors"
    with pytest.raises(SystemExit, match=f"^train: .*{complaint}") as exit:
        train_retrieval(data, backbone, memory, tmp_path, "--steps", 1, "--start-from", earlier, *options)
    assert "\n" not in str(exit.value)
