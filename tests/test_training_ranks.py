"""Training divided among processes, as torchrun starts them."""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training import SCRIPTS, TINY_WORDS, curve, run_backbone

from dejavu.model.training.ranks import Ranks, joined_ranks
from dejavu.model.training.run import TrainingRun

ONE_THREAD = ["--threads", 1]


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--", SCRIPTS / "train.py"]
    command = [sys.executable, *map(str, [*launcher, *arguments])]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def meeting_place(ranks: int) -> dict[str, str]:
    """The environment by which `ranks` processes find each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}


def start_ranks(*arguments: object) -> list[subprocess.Popen[str]]:
    """Two ranks as torchrun starts them, without the one who watches over them."""
    shared = os.environ | meeting_place(2)
    return [
        subprocess.Popen(
            [sys.executable, str(SCRIPTS / "train.py"), *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]


def assert_same_training(run: Path, alone: Path) -> None:
    """Equal up to rounding, which processors do differently: the last gradient, the mean losses, and the weights.

    The weights by a fifth of the way that the training goes (3e-4 on the average).
    """
    for name in ("gradient_norm", "policy_loss", "value_loss", "top1"):
        values = []
        for folder in (run, alone):
            with (folder / "train.csv").open(newline="") as file:
                values.append(float(list(csv.DictReader(file))[-1][name]))
        one_sample = 0.02 if name == "top1" else 0
        assert values[0] == pytest.approx(values[1], rel=0.02, abs=one_sample), name
    found, expected = load_file(run / "weights.safetensors"), load_file(alone / "weights.safetensors")
    assert found.keys() == expected.keys()
    apart = torch.cat([(found[name].float() - expected[name].float()).abs().flatten() for name in found])
    assert apart.mean() < 6e-5


def test_two_ranks_train_what_one_process_trains_even_if_one_is_killed(
    data: Path, backbone: Path, tmp_path: Path
) -> None:
    command = [
        "backbone",
        "--data",
        data,
        "--run",
        tmp_path,
        "--steps",
        12,
        "--preset",
        "tiny",
        *TINY_WORDS,
        *ONE_THREAD,
    ]
    first, second = start_ranks(*command)
    deadline = time.monotonic() + 120
    while not (tmp_path / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        assert second.poll() is None
        time.sleep(0.02)
    second.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    second.wait()
    told = first.communicate()[1]
    assert first.returncode == 1, told
    assert "rank 0 has lost the others" in told
    assert "Traceback" not in told
    assert not (tmp_path / "weights.safetensors").exists()

    resumed = torchrun(*command)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.count("resumed") == 1  # only the first rank speaks
    assert [row[0] for row in curve(tmp_path)] == [row[0] for row in curve(backbone)]
    assert_same_training(tmp_path, backbone)


def test_ranks_narrow_a_net_alike(data: Path, backbone: Path, tmp_path: Path) -> None:
    options = ["--start-from", backbone / "weights.safetensors", "--key-width", 8, "--attack-width", 4]
    runs = tmp_path / "together", tmp_path / "alone"
    words = ["backbone", "--data", data, "--steps", 4, *options, *TINY_WORDS, *ONE_THREAD]
    done = torchrun(*words, "--run", runs[0])
    assert done.returncode == 0, done.stderr
    earlier = backbone / "weights.safetensors"
    run_backbone(data, runs[1], 4, start_from=earlier, key_width=8, attack_width=4, threads=1)
    assert_same_training(*runs)


def test_stage_two_divides_the_search_for_neighbours(
    data: Path, backbone: Path, memory: Path, retrieval: Path, tmp_path: Path
) -> None:
    files = ["--weights", backbone / "weights.safetensors", "--memory", memory]
    done = torchrun("retrieval", "--data", data, "--run", tmp_path, *files, "--steps", 12, *TINY_WORDS, *ONE_THREAD)
    assert done.returncode == 0, done.stderr
    found, alone = (sorted(path.name for path in run.glob("neighbours-*/*")) for run in (tmp_path, retrieval))
    assert found == alone != []
    assert_same_training(tmp_path, retrieval)


def test_the_threads_of_a_group_end_before_their_process(monkeypatch: pytest.MonkeyPatch) -> None:
    # Left alive, they aborted every second process that ended right after a sum.
    for name, value in (meeting_place(1) | {"RANK": "0", "LOCAL_RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    with joined_ranks(torch.device("cpu")) as ranks:
        assert (ranks.number, ranks.count) == (0, 1)
        assert torch.distributed.is_initialized()
    assert not torch.distributed.is_initialized()


def test_ranks_share_a_batch_and_refuse_one_too_small() -> None:
    rows, parts = np.arange(16), []
    run = TrainingRun(data=[], folder=Path(), steps=1, batch=16, part=6, device="cpu")
    for number in range(2):
        ranks = Ranks(number, 2)
        parts += [part.tolist() for part in run.share(run.cut(rows, ranks), ranks)]
    assert sorted(parts) == [list(range(6)), list(range(6, 12)), list(range(12, 16))]
    whole = replace(run, part=16)
    with pytest.raises(ValueError, match="16 samples in parts of 16 are too few for 2 ranks"):
        whole.share(whole.cut(rows, Ranks(0, 2)), Ranks(0, 2))
