"""Training with all data on the device: the arrays, the batches made of them, and whole runs."""

from __future__ import annotations

import csv
import itertools
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from training import TINY, curve, run_script
from valued_moves import table_line, write_table

from dejavu.model.chess.encoding import MIRRORED_MOVES
from dejavu.model.data.all_moves import AllMoves, read_all_moves
from dejavu.model.data.dataset import MEMORY, TRAIN, Dataset, DatasetError, Searches
from dejavu.model.data.device_arrays import FORMAT, ArraysRun, DeviceArrays, make_arrays, prepare_arrays
from dejavu.model.network import Outputs
from dejavu.model.training import loop
from dejavu.model.training.auxiliary import UNKNOWN, continuation
from dejavu.model.training.batches import Batch, make_batch, random_half
from dejavu.model.training.checkpoint import CheckpointError
from dejavu.model.training.device_batches import DeviceBatches
from dejavu.model.training.device_run import DeviceRun, train_on_device
from dejavu.model.training.losses import losses
from dejavu.model.weights import read_weights

CPU = torch.device("cpu")
SHARES = {"games": 0.6, "all-moves": 0.15, "children": 0.25}
POSITIONS = [
    ("rnbqkbnr/pp1ppppp/8/2p5/4P3/8/PPPP1PPP/RNBQKBNR w KQkq - 0 2", {"g1f3": 40, "b1c3": 30, "d1h5": -60}),
    ("4k3/P7/8/8/8/8/8/4K3 w - - 0 1", {"a7a8q": 900, "a7a8r": 500, "a7a8n": 5}),
    ("8/5k2/8/8/2p5/8/1P6/4K3 b - - 3 60", {"c4c3": -20, "f7e6": 10}),
]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "values.txt.zst"
    write_table(path, *(table_line(fen, **values) for fen, values in POSITIONS))
    return path


@pytest.fixture(scope="module")
def all_moves(table: Path) -> AllMoves:
    return read_all_moves(table, 1)


@pytest.fixture(scope="module")
def arrays(data: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("arrays") / "arrays.safetensors"
    report = prepare_arrays(ArraysRun(data=[data], all_moves=table, out=out, processes=2))
    assert "games.pgn" in str(report)
    assert "all-moves 3, children" in str(report)
    return out


def train(data: Path, arrays: Path, run: Path, **options: Any) -> None:
    usual = {name: value for name, value in TINY.items() if name != "part"}
    given = {"preset": "tiny", "sources": SHARES, "device": "cpu", **usual, **options}
    train_on_device(DeviceRun(data=[data], arrays=arrays, folder=run, **given))


def logged(run: Path) -> list[dict[str, str]]:
    with (run / "train.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def batches(data: Path, all_moves: AllMoves | None = None) -> DeviceBatches:
    return DeviceBatches(make_arrays(Dataset.open(data), all_moves), CPU)


def test_batches_of_games_are_those_that_numpy_makes(data: Path) -> None:
    dataset = Dataset.open(data)
    better = dataset.best.copy()
    better[::7] = np.roll(better, 1)[::7]  # so that games do not follow everywhere
    dataset = replace(dataset, best=better)
    rows = dataset.rows_to_learn((TRAIN, MEMORY))
    at = np.random.default_rng(3).permutation(len(rows))
    batch = DeviceBatches(make_arrays(dataset, None), CPU).make(at, seed=5)

    bit0, bit1, bit2, _ = dataset.planes[rows[at]].T
    mirrored = random_half(at, 5) & (bit0 & bit1 & bit2 == 0)
    assert 50 < mirrored.sum() < len(rows) - 50
    expected, foreseen = make_batch(dataset, rows[at], mirrored=mirrored), continuation(dataset, rows[at], mirrored)
    assert all(torch.equal(found, wanted) for found, wanted in zip(batch.inputs, expected.inputs, strict=True))
    assert torch.equal(batch.legal, expected.legal)
    assert torch.equal(batch.best, expected.best)
    assert torch.equal(batch.wdl, expected.wdl)
    assert batch.policy is not None
    assert torch.equal(batch.policy.argmax(dim=1), expected.best)
    assert torch.equal(batch.policy.sum(dim=1), torch.ones(len(at)))
    assert batch.continuation is not None
    for found, wanted in zip(batch.continuation, foreseen, strict=True):
        assert 50 < (wanted.view(len(at), -1)[:, 0] == UNKNOWN).sum() < len(at) - 50
        assert torch.equal(found, wanted)


def test_a_policy_over_all_moves_is_mirrored_with_its_position(data: Path, all_moves: AllMoves) -> None:
    made = batches(data, all_moves)
    first = len(Dataset.open(data).rows_to_learn((TRAIN, MEMORY)))
    rows = np.arange(first, first + len(POSITIONS))
    seen = set()
    for seed in range(8):
        batch = made.make(rows, seed)
        assert batch.policy is not None
        for i, (moves, shares) in enumerate(zip(all_moves.moves, all_moves.shares, strict=True)):
            turned = bool(batch.best[i] != int(moves[0]))
            seen.add((i, turned))
            indices = (MIRRORED_MOVES[moves] if turned else moves)[shares > 0]
            assert batch.best[i] == int(indices[0])
            assert np.array_equal(batch.policy[i, indices.astype(np.int64)].numpy(), shares[shares > 0])
            assert torch.equal(batch.policy[i] > 0, batch.legal[i])
    assert seen == {(0, False), (1, False), (1, True), (2, False), (2, True)}  # castling keeps its side


def test_positions_of_which_only_the_value_is_known_teach_the_policy_nothing(data: Path, all_moves: AllMoves) -> None:
    made = batches(data, all_moves)
    children = np.arange(len(make_arrays(Dataset.open(data), all_moves)))[-10:]
    mixed, alone = made.make(np.concatenate([np.arange(20), children]), 1), made.make(np.arange(20), 1)
    logits = torch.randn(30, mixed.legal.shape[1]).requires_grad_()
    outputs = Outputs(logits, torch.zeros(30, 3))
    found, wanted = losses(outputs, mixed), losses(Outputs(logits[:20], torch.zeros(20, 3)), alone)
    assert found.policy.item() == pytest.approx(wanted.policy.item(), rel=1e-5)
    assert found.top1.item() == pytest.approx(wanted.top1.item())
    torch.autograd.backward(found.policy)
    assert logits.grad is not None
    assert logits.grad[:20].abs().sum() > 0
    assert logits.grad[20:].abs().sum() == 0
    assert mixed.wdl[20:].sum(dim=1).allclose(torch.ones(10), atol=1e-5)
    assert mixed.wdl[-1].tolist() != mixed.wdl[0].tolist()


def test_arrays_are_read_as_they_were_written(data: Path, all_moves: AllMoves, arrays: Path) -> None:
    expected, found = make_arrays(Dataset.open(data), all_moves), DeviceArrays.open(arrays)
    for name, array in vars(expected).items():
        assert np.array_equal(getattr(found, name), array), name
    shares = [len(found.rows(name)) for name in SHARES]
    assert sum(shares) == len(found)
    assert shares[1] == len(POSITIONS)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (
            {"best": torch.full((9,), 5, dtype=torch.int16)},
            "tensor 'best' is int16 \\[9\\], where int16 \\[P\\] belongs",
        ),
        ({"moves": torch.full((3, 64), 4168, dtype=torch.int16)}, "is damaged: a move, a policy or a source"),
        ({"source_names": torch.tensor(list(b"one"), dtype=torch.uint8)}, "is damaged: a move, a policy or a source"),
        ({"extra": torch.zeros(1), "planes": None}, "cannot be read: .*planes"),
    ],
)
def test_damaged_arrays_are_refused(
    arrays: Path, tmp_path: Path, damage: dict[str, torch.Tensor | None], complaint: str
) -> None:
    tensors = {name: value for name, value in (load_file(arrays) | damage).items() if value is not None}
    path = tmp_path / "arrays.safetensors"
    save_file(tensors, path, {"format": FORMAT})
    with pytest.raises(DatasetError, match=rf"arrays\.safetensors .*{complaint}") as raised:
        DeviceArrays.open(path)
    assert "\n" not in str(raised.value)


def test_another_file_is_no_file_of_arrays(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"data\.safetensors is not a file of arrays for a device"):
        DeviceArrays.open(data)
    with pytest.raises(DatasetError, match=r"nowhere does not exist"):
        DeviceArrays.open(tmp_path / "nowhere")


def test_a_broken_table_ends_the_script_with_a_sentence(data: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "values.txt.zst", tmp_path / "arrays.safetensors"
    write_table(path, table_line(POSITIONS[0][0]), "8/8/8/8/8/8/8/8 w - - 0 1|e2e4 5")
    done = run_script("train_device.py", "prepare", "--data", data, "--all-moves", path, "--out", out)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"train_device: {path}, line 2: ")
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_training_on_the_device_learns_and_names_its_net(data: Path, arrays: Path, tmp_path: Path) -> None:
    train(data, arrays, tmp_path, steps=60, evaluate_every=60, name="knight-3")
    first, last = logged(tmp_path)
    assert float(last["policy_loss"]) < float(first["policy_loss"]) - 0.1
    assert float(last["value_loss"]) < float(first["value_loss"])
    assert read_weights(tmp_path / "weights.safetensors")[1]["training.name"] == "knight-3"


def test_a_stopped_run_resumes_to_the_same_curve_and_weights(
    data: Path, arrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(data, arrays, whole, steps=12)
    make, made = DeviceBatches.make, list[int]()

    def make_ten(self: DeviceBatches, rows: NDArray[np.int64], seed: int) -> Batch:
        made.append(len(rows))
        if len(made) > 10:
            raise KeyboardInterrupt
        return make(self, rows, seed)

    with monkeypatch.context() as patch:
        patch.setattr(DeviceBatches, "make", make_ten)
        with pytest.raises(KeyboardInterrupt):
            train(data, arrays, stopped, steps=12)
    assert [row[0] for row in curve(stopped)] == ["4", "8"]
    train(data, arrays, stopped, steps=12)
    assert curve(stopped) == curve(whole)
    for name in ("weights", "undecayed"):
        expected, found = (load_file(run / f"{name}.safetensors") for run in (whole, stopped))
        assert all(torch.equal(found[key], value) for key, value in expected.items())
    with pytest.raises(CheckpointError, match="sources"):
        train(data, arrays, stopped, steps=12, sources={"games": 1.0})


def test_a_run_ends_by_the_clock_with_its_rate_at_zero(
    data: Path, arrays: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: next(moments) / 16)  # which is looked at twice a step
    with monkeypatch.context() as patch:
        patch.setattr(loop, "time", clock)
        train(data, arrays, tmp_path, seconds=2.5, decay=0.5, evaluate_every=100, checkpoint_every=100)
    last = logged(tmp_path)[-1]
    assert last["step"] == "20"
    assert float(last["learning_rate"]) == pytest.approx(TINY["learning_rate"] * 20 / 100 * 0.05)  # in the warm-up
    assert read_weights(tmp_path / "weights.safetensors")[1]["training.samples"] == str(20 * TINY["batch"])
    assert read_weights(tmp_path / "undecayed.safetensors")[1]["training.samples"] == str(10 * TINY["batch"])


def test_a_teacher_teaches_on_the_device_too(data: Path, arrays: Path, backbone: Path, tmp_path: Path) -> None:
    weights = backbone / "weights.safetensors"
    options = {"steps": 2, "start_from": weights, "keep_layers": [0]}
    for name, teacher in (("alone", None), ("taught", weights)):
        train(data, arrays, tmp_path / name, teacher=teacher, **options)
    alone, taught = (load_file(tmp_path / name / "weights.safetensors") for name in ("alone", "taught"))
    assert alone.keys() == taught.keys()
    assert any(not torch.equal(taught[key], value) for key, value in alone.items())


def test_what_a_run_on_the_device_cannot_do_is_refused(data: Path, arrays: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a number of steps or of seconds"):
        train(data, arrays, tmp_path)
    with pytest.raises(ValueError, match="results of the games"):
        train(data, arrays, tmp_path, steps=1, result_weight=0.5)
    with pytest.raises(ValueError, match="no positions to train on"):
        train(data, arrays, tmp_path, steps=1, sources={"nothing": 1.0})


def test_games_of_self_play_are_refused(data: Path, tmp_path: Path) -> None:
    one = Searches(*(np.array(values) for values in ([3], [[1.0, 0.0, 0.0]], [0, 1], [796], [50])))
    kinds = {field.name: getattr(Searches.none(), field.name).dtype for field in fields(Searches)}
    searched = Searches(**{name: getattr(one, name).astype(kind) for name, kind in kinds.items()})
    path, out = tmp_path / "selfplay.safetensors", tmp_path / "arrays.safetensors"
    replace(Dataset.open(data), searches=searched).save(path)
    with pytest.raises(DatasetError, match=r"selfplay\.safetensors with what searches visited"):
        prepare_arrays(ArraysRun(data=[path], out=out))
    assert not out.exists()
