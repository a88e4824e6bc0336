"""Runs of train.py: resumed after a kill, begun from an earlier run, refused."""

from __future__ import annotations

import csv
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training import SCRIPTS, TINY_WORDS, curve, rows_without_times, run_backbone, run_retrieval, run_script

from dejavu.model.data.shards import open_data
from dejavu.model.inference import NetworkEvaluator
from dejavu.model.training import loop
from dejavu.model.training import run as run_module
from dejavu.model.training.backbone_run import BackboneRun
from dejavu.model.training.checkpoint import CheckpointError, save_checkpoint
from dejavu.model.training.loop import CsvLog


def test_a_run_starts_from_the_weights_of_an_earlier_one(data: Path, backbone: Path, tmp_path: Path) -> None:
    earlier = backbone / "weights.safetensors"
    run_backbone(data, tmp_path, 1, start_from=earlier, learning_rate=1e-9)
    expected, found = load_file(earlier), load_file(tmp_path / "weights.safetensors")
    assert all(torch.allclose(found[name].float(), value.float(), atol=1e-3) for name, value in expected.items())


def test_a_run_that_goes_on_from_a_net_does_not_see_again_what_that_saw_last(data: Path, backbone: Path) -> None:
    dataset = open_data([data])
    first = BackboneRun(data=[data], folder=backbone, steps=9)
    later = replace(first, start_from=backbone / "weights.safetensors")
    latest = replace(first, start_from=backbone / "undecayed.safetensors")
    orders = [run.rows(dataset).rows(0).tolist() for run in (first, later, latest, later)]
    assert orders[1] == orders[3]
    assert len({tuple(order) for order in orders}) == 3


def test_a_net_is_shown_by_the_name_and_date_of_its_run(data: Path, backbone: Path, tmp_path: Path) -> None:
    run_backbone(data, tmp_path, 1, name="rook-7")
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
        "--preset",
        "tiny",
        *TINY_WORDS,
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        assert process.poll() is None
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
    run_backbone(data, tmp_path, 6, decay=1e-9)  # never falls
    expected, found = load_file(tmp_path / "weights.safetensors"), load_file(backbone / "undecayed.safetensors")
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_run_killed_right_after_it_went_on_loses_nothing_of_its_log(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    first = CsvLog(path, 0, writes=True)
    first.write(step=5, seconds=1.0)
    first.write(step=10, seconds=2.0)
    goes_on = CsvLog(path, 5, writes=True)
    assert goes_on.seconds == 1.0
    with path.open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["5"]


def test_a_run_that_went_on_has_the_rows_of_an_unbroken_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of train.csv tells of several steps, so a kill falls into the middle of one."""
    monkeypatch.setattr(run_module, "Run", partial(loop.Run, log_every=10))
    unbroken = tmp_path / "unbroken"
    run_backbone(data, unbroken, 22)
    assert [row["step"] for row in rows_without_times(unbroken / "train.csv")] == ["10", "20", "22"]
    for stopped_at in (12, 16):
        killed = tmp_path / f"killed at {stopped_at}"

        def stop(path: Path, *state: Any, last: int = stopped_at) -> None:
            save_checkpoint(path, *state)
            if state[2] == last:
                raise RuntimeError("killed")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "save_checkpoint", stop)
            with pytest.raises(RuntimeError, match="killed"):
                run_backbone(data, killed, 22)
        for _ in range(2):  # the second finds the run finished
            run_backbone(data, killed, 22)
            for name in ("train.csv", "held_out.csv"):
                assert rows_without_times(killed / name) == rows_without_times(unbroken / name)


def test_training_learns(data: Path, tmp_path: Path) -> None:
    run_backbone(data, tmp_path, 150, evaluate_every=150)
    with (tmp_path / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["50", "100", "150"]
    assert float(rows[-1]["policy_loss"]) < float(rows[0]["policy_loss"]) - 0.1
    assert float(rows[-1]["value_loss"]) < float(rows[0]["value_loss"])


def test_a_checkpoint_of_another_run_is_refused(data: Path, backbone: Path, tmp_path: Path) -> None:
    run = shutil.copytree(backbone, tmp_path / "run")
    with pytest.raises(CheckpointError, match="12 steps"):
        run_backbone(data, run, 13)
    with pytest.raises(CheckpointError, match="schedule"):
        run_backbone(data, run, 12, learning_rate=1e-4)


def test_a_run_may_become_shorter_or_longer_until_its_rate_falls(data: Path, tmp_path: Path) -> None:
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    run_backbone(data, unbroken, 8, decay=0.25)

    def stop(path: Path, *state: Any) -> None:
        save_checkpoint(path, *state)
        raise RuntimeError("killed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", stop)
        with pytest.raises(RuntimeError, match="killed"):
            run_backbone(data, killed, 1000, decay=0.5)
    run_backbone(data, killed, 8, decay=0.25)
    for name in ("weights.safetensors", "undecayed.safetensors"):
        expected, found = load_file(unbroken / name), load_file(killed / name)
        assert all(torch.equal(found[key], value) for key, value in expected.items())
    with pytest.raises(CheckpointError, match="this run has none yet"):
        run_backbone(data, killed, 1000, decay=0.5)


def test_stage_two_keeps_the_backbone_and_resumes(
    retrieval: Path, backbone: Path, data: Path, memory: Path, tmp_path: Path
) -> None:
    stage1, stage2 = load_file(backbone / "weights.safetensors"), load_file(retrieval / "weights.safetensors")
    assert all(torch.equal(stage2[name], value) for name, value in stage1.items())
    assert stage2["retrieval.layer.attention.out.weight"].abs().sum() > 0
    run = shutil.copytree(retrieval, tmp_path / "run")
    (run / "weights.safetensors").unlink()
    run_retrieval(data, backbone, memory, run, 12)
    again = load_file(run / "weights.safetensors")
    assert all(torch.equal(again[name], value) for name, value in stage2.items())


def test_the_retrieval_part_goes_on_from_that_of_an_earlier_net(
    retrieval: Path, backbone: Path, data: Path, memory: Path, tmp_path: Path
) -> None:
    on, anew, earlier_net = tmp_path / "on", tmp_path / "anew", retrieval / "weights.safetensors"
    run_retrieval(data, backbone, memory, on, 1, learning_rate=1e-12, start_from=earlier_net)
    run_retrieval(data, backbone, memory, anew, 1, learning_rate=1e-12)
    assert curve(on)[-1][1:] == curve(retrieval)[-1][1:] != curve(anew)[-1][1:]
    earlier, found = load_file(retrieval / "weights.safetensors"), load_file(on / "weights.safetensors")
    assert all(torch.equal(found[name], value) for name, value in earlier.items())


@pytest.mark.parametrize(
    ("net", "options", "complaint"),
    [
        ("stage2", {"neighbour_width": 32}, "the retrieval part of .*weights.safetensors has another shape"),
        ("stage1", {}, "weights.safetensors has no retrieval part to go on from"),
        ("nowhere", {}, "weights.safetensors does not exist"),
    ],
)
def test_a_net_without_such_a_retrieval_part_is_refused(
    retrieval: Path,
    backbone: Path,
    data: Path,
    memory: Path,
    tmp_path: Path,
    net: str,
    options: dict[str, int],
    complaint: str,
) -> None:
    earlier = {"stage1": backbone, "stage2": retrieval}.get(net, tmp_path) / "weights.safetensors"
    with pytest.raises(ValueError, match=complaint) as error:
        run_retrieval(data, backbone, memory, tmp_path, 1, start_from=earlier, **options)
    assert "\n" not in str(error.value)


def test_what_cannot_be_trained_ends_the_script_with_a_sentence(backbone: Path, tmp_path: Path) -> None:
    done = run_script("train.py", "backbone", "--data", tmp_path / "nowhere", "--run", tmp_path, "--steps", 1)
    assert (done.returncode, done.stderr) == (1, f"train: data set {tmp_path / 'nowhere'} does not exist\n")
