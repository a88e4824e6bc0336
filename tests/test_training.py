"""Training: reproducible batches, masked moves, resuming after a kill, both stages from games to an evaluator."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import chess
import chess.pgn
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from dejavu.model.config import PRESETS
from dejavu.model.encoding import MIRRORED_MOVES, NO_MOVE, index_to_move, mirror, move_to_index, pack, stack, unpack
from dejavu.model.evaluations import Evaluations
from dejavu.model.inference import NetworkEvaluator, load_backbone
from dejavu.model.neighbours import EncodingCache, Retriever
from dejavu.model.network import Network, Outputs
from dejavu.model.training.batches import RowOrder, add_neighbours, add_twins, make_batch, mirrored_rows
from dejavu.model.training.dataset import MEMORY, TRAIN, Dataset
from dejavu.model.training.losses import losses
from dejavu.model.training.ranks import Ranks
from dejavu.model.training.replicas import Replicas
from dejavu.model.weights import Weights, WeightsError, load_weights, save_weights
from dejavu.retrieval.memory import Memory, MemoryFileError

SCRIPTS = Path(__file__).parent.parent / "scripts"
sys.path.insert(0, str(SCRIPTS))
import train as train_script  # noqa: E402

TINY = [
    "--preset",
    "tiny",
    "--batch",
    "16",
    "--held-out",
    "64",
    "--part",
    "6",
    "--threads",
    "2",
    "--checkpoint-every",
    "4",
    "--evaluate-every",
    "4",
    "--learning-rate",
    "0.003",
]


def run_script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def train(*arguments: object) -> None:
    done = run_script("train.py", *arguments)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of short random games, where the better move always captures if it can."""
    rng = random.Random(7)
    folder = tmp_path_factory.mktemp("data")
    with (folder / "games.pgn").open("w") as file:
        for _ in range(60):
            game = chess.pgn.Game()
            node: chess.pgn.GameNode = game
            board = game.board()
            for _ in range(40):
                moves = list(board.legal_moves)
                if not moves:
                    break
                captures = [move for move in moves if board.is_capture(move)]
                move = rng.choice(captures or moves)
                node = node.add_variation(move)
                board.push(move)
            game.headers["Result"] = rng.choice(["1-0", "0-1", "1/2-1/2"])
            print(game, file=file, end="\n\n")
    out = folder / "data.safetensors"
    done = run_script("prepare_data.py", folder / "games.pgn", "--out", out, "--memory", "0.4", "--held-out", "0.1")
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def backbone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("stage1")
    train("backbone", "--data", data, "--run", run, "--steps", 12, *TINY)
    return run


@pytest.fixture(scope="module")
def memory(data: Path, backbone: Path) -> Path:
    out = backbone / "memory.safetensors"
    done = run_script(
        "build_memory.py",
        "--data",
        data,
        "--weights",
        backbone / "weights.safetensors",
        "--out",
        out,
        "--work",
        backbone / "work",
        "--entries",
        "400",
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def retrieval(data: Path, backbone: Path, memory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("stage2")
    train(
        "retrieval",
        "--data",
        data,
        "--run",
        run,
        "--weights",
        backbone / "weights.safetensors",
        "--memory",
        memory,
        "--steps",
        12,
        *TINY[2:],
    )
    return run


def test_rows_depend_on_seed_and_step_alone_and_every_epoch_sees_every_row_once() -> None:
    sources = {"a": np.arange(100), "b": np.arange(100, 130)}
    order = RowOrder(sources, {"a": 2, "b": 1}, batch=15, seed=3)
    again = RowOrder(sources, {"a": 2, "b": 1}, batch=15, seed=3)
    steps = [order.rows(step) for step in range(10)]
    assert all(np.array_equal(again.rows(step), steps[step]) for step in reversed(range(10)))
    assert sorted(row for rows in steps for row in rows if row < 100) == list(range(100))
    assert not np.array_equal(RowOrder(sources, {"a": 2, "b": 1}, 15, seed=4).rows(0), steps[0])


def test_illegal_moves_have_no_part_in_the_policy_loss(data: Path) -> None:
    dataset = Dataset.open(data)
    batch = make_batch(dataset, dataset.rows(TRAIN)[:32])
    policy = torch.randn(32, batch.legal.shape[1])
    outputs = Outputs(policy, torch.zeros(32, 3))
    disturbed = Outputs(torch.where(batch.legal, policy, policy + 50), torch.zeros(32, 3))
    assert torch.equal(losses(outputs, batch).policy, losses(disturbed, batch).policy)
    assert batch.legal[torch.arange(32), batch.best].all()


def test_mirrored_samples_are_the_same_chess(data: Path) -> None:
    dataset = Dataset.open(data)
    rows = dataset.rows(TRAIN)
    mirrored = mirrored_rows(dataset, rows, seed=1)
    assert np.array_equal(mirrored, mirrored_rows(dataset, rows, seed=1))
    assert mirrored.any()
    assert not mirrored.all()
    plain, turned = make_batch(dataset, rows), make_batch(dataset, rows, mirrored=mirrored)
    for i in np.flatnonzero(mirrored)[:40]:
        board = unpack(dataset.planes[rows[i]])
        assert not board.castling_rights
        reflected = board.transform(chess.flip_horizontal)
        assert stack([pack(reflected)]).tolist() == mirror(dataset.planes[rows[i : i + 1]]).tolist()
        move = index_to_move(int(plain.best[i]), board)
        other_side = index_to_move(int(turned.best[i]), reflected)
        assert other_side.from_square == move.from_square ^ 7
        assert other_side.to_square == move.to_square ^ 7
        assert other_side.promotion == move.promotion
        assert torch.equal(turned.legal[i, torch.from_numpy(MIRRORED_MOVES.astype(np.int64))], plain.legal[i])
    kept = torch.from_numpy(~mirrored)
    assert torch.equal(turned.inputs.squares[kept], plain.inputs.squares[kept])
    assert np.array_equal(MIRRORED_MOVES[MIRRORED_MOVES], np.arange(len(MIRRORED_MOVES)))


def test_the_result_has_its_share_of_the_value_target(data: Path) -> None:
    dataset = Dataset.open(data)
    rows = dataset.rows(TRAIN)[:64]
    evaluated = replace(dataset, centipawns=np.zeros_like(dataset.centipawns))
    pure, mixed = evaluated.wdl_target(rows), evaluated.wdl_target(rows, 0.25)
    results = np.eye(3)[1 - evaluated.result[rows]]
    assert np.allclose(mixed, 0.75 * pure + 0.25 * results, atol=1e-6)
    assert np.allclose(dataset.wdl_target(rows, 0.25), results)  # no evaluation: the result is all there is


def test_replicas_have_the_gradients_of_the_whole_batch(data: Path) -> None:
    dataset = Dataset.open(data)
    rows = dataset.rows(TRAIN)[:24]
    torch.manual_seed(3)
    network = Network(PRESETS["tiny"], retrieval=False)
    losses(network(make_batch(dataset, rows).inputs), make_batch(dataset, rows)).total.backward()
    expected = {name: value.grad.clone() for name, value in network.named_parameters() if value.grad is not None}
    network.zero_grad()
    replicas = Replicas(network, 3, lambda replica, batch: replica(batch.inputs))
    parts = [make_batch(dataset, some) for some in (rows[:8], rows[8:12], rows[12:20], rows[20:])]
    found = replicas.learn(parts, len(rows))
    for name, value in network.named_parameters():
        assert value.grad is not None
        assert torch.allclose(value.grad, expected[name], atol=1e-5), name
    alone = [losses(network(part.inputs), part).policy.item() for part in parts]
    assert np.allclose([loss.policy.item() for loss in found], alone, atol=1e-5)
    with torch.no_grad():
        network.norm.weight.zero_()
    assert all(float(replica.norm.weight.detach().sum()) == 0 for replica in replicas.networks)


def test_a_run_starts_from_the_weights_of_an_earlier_one(data: Path, backbone: Path, tmp_path: Path) -> None:
    earlier = backbone / "weights.safetensors"
    options = [*TINY[2:-1], "1e-9", "--start-from", earlier]
    train("backbone", "--data", data, "--run", tmp_path, "--steps", 1, *options)
    expected, found = load_file(earlier), load_file(tmp_path / "weights.safetensors")
    assert all(torch.allclose(found[name].float(), value.float(), atol=1e-3) for name, value in expected.items())


def test_the_value_loss_is_zero_only_for_the_target(data: Path) -> None:
    dataset = Dataset.open(data)
    batch = make_batch(dataset, dataset.rows(TRAIN)[:32])
    perfect = Outputs(torch.zeros(32, batch.legal.shape[1]), (batch.wdl + 1e-9).log())
    assert abs(losses(perfect, batch).value.item()) < 1e-5
    assert losses(perfect._replace(wdl=torch.zeros(32, 3)), batch).value.item() > 0.5


def curve(run: Path) -> list[tuple[str, ...]]:
    """The learning curve without its times."""
    with (run / "held_out.csv").open(newline="") as file:
        return [(row["step"], row["policy_loss"], row["value_loss"], row["top1"]) for row in csv.DictReader(file)]


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
    done = run_script("train.py", "backbone", "--data", data, "--run", backbone, "--steps", 13, *TINY)
    assert done.returncode != 0
    assert "schedule" in done.stderr
    assert "Traceback" not in done.stderr


def test_stage_two_keeps_the_backbone_and_resumes(retrieval: Path, backbone: Path, data: Path, memory: Path) -> None:
    stage1, stage2 = load_file(backbone / "weights.safetensors"), load_file(retrieval / "weights.safetensors")
    assert all(torch.equal(stage2[name], value) for name, value in stage1.items())
    assert stage2["retrieval.layer.attention.out.weight"].abs().sum() > 0
    (retrieval / "weights.safetensors").unlink()
    train(
        "retrieval",
        "--data",
        data,
        "--run",
        retrieval,
        "--weights",
        backbone / "weights.safetensors",
        "--memory",
        memory,
        "--steps",
        12,
        *TINY[2:],
    )
    again = load_file(retrieval / "weights.safetensors")
    assert all(torch.equal(again[name], value) for name, value in stage2.items())


ONE_THREAD = ["--threads", 1]


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--", SCRIPTS / "train.py"]
    command = [sys.executable, *map(str, [*launcher, *arguments])]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def start_ranks(*arguments: object) -> list[subprocess.Popen[str]]:
    """Two ranks as torchrun starts them, without the one who watches over them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
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
    """Equal up to rounding: the last step's gradient, the mean losses, and the weights."""
    for name in ("gradient_norm", "policy_loss", "value_loss", "top1"):
        values = []
        for folder in (run, alone):
            with (folder / "train.csv").open(newline="") as file:
                values.append(float(list(csv.DictReader(file))[-1][name]))
        assert values[0] == pytest.approx(values[1], rel=0.02), name
    found, expected = load_file(run / "weights.safetensors"), load_file(alone / "weights.safetensors")
    assert found.keys() == expected.keys()
    apart = torch.cat([(found[name].float() - expected[name].float()).abs().flatten() for name in found])
    assert apart.mean() < 3e-5


def test_two_ranks_train_what_one_process_trains_even_if_one_is_killed(
    data: Path, backbone: Path, tmp_path: Path
) -> None:
    command = ["backbone", "--data", data, "--run", tmp_path, "--steps", 12, *TINY, *ONE_THREAD]
    first, second = start_ranks(*command)
    deadline = time.monotonic() + 120
    while not (tmp_path / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    second.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    second.wait()
    told = first.communicate()[1]
    assert first.returncode != 0
    assert "rank 0 has lost the others" in told
    assert "Traceback" not in told
    assert not (tmp_path / "weights.safetensors").exists()

    resumed = torchrun(*command)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.count("resumed") == 1  # only the first rank speaks
    assert [row[0] for row in curve(tmp_path)] == [row[0] for row in curve(backbone)]
    assert_same_training(tmp_path, backbone)


def test_stage_two_divides_the_search_for_neighbours(
    data: Path, backbone: Path, memory: Path, retrieval: Path, tmp_path: Path
) -> None:
    files = ["--weights", backbone / "weights.safetensors", "--memory", memory]
    done = torchrun("retrieval", "--data", data, "--run", tmp_path, *files, "--steps", 12, *TINY[2:], *ONE_THREAD)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "neighbours").iterdir())) == len(list((retrieval / "neighbours").iterdir()))
    assert_same_training(tmp_path, retrieval)


def test_ranks_share_a_batch_and_refuse_one_too_small() -> None:
    rows, parts = np.arange(16), []
    for number in range(2):
        arguments = Namespace(device="cpu", part=6, ranks=Ranks(number, 2))
        parts += [part.tolist() for part in train_script.cut(arguments, rows)]
    assert sorted(parts) == [list(range(6)), list(range(6, 12)), list(range(12, 16))]
    with pytest.raises(ValueError, match="16 samples in parts of 16 are too few for 2 ranks"):
        train_script.cut(Namespace(device="cpu", part=16, ranks=Ranks(0, 2)), rows)


def test_a_twin_is_the_position_itself_with_the_move_to_play(data: Path, backbone: Path, memory: Path) -> None:
    dataset, opened = Dataset.open(data), Memory.open(memory)
    network, _ = load_weights(backbone / "weights.safetensors")
    rows = dataset.rows(TRAIN)[:200]
    embeddings = load_backbone(backbone / "weights.safetensors").embed_chunks(
        dataset.planes[rows], dataset.clocks[rows]
    )
    found = Retriever(network.config, opened, threads=1).search(embeddings, dataset.game[rows])
    plain = add_neighbours(make_batch(dataset, rows), found, opened)
    taught = add_twins(plain, 0.5, seed=1)
    assert plain.neighbours is not None
    assert taught.neighbours is not None
    records, places, neighbours = taught.neighbours
    is_twin = (places[:, 0, 0] >= len(plain.neighbours.records.wdl)).numpy()
    assert 60 < is_twin.sum() < 140
    for i in np.flatnonzero(is_twin):
        twin = places[i, 0, 0]
        assert torch.equal(records.squares[twin], taught.inputs.squares[i])
        assert records.continuations[twin].tolist() == [taught.best[i], *[NO_MOVE] * 7]
        assert neighbours.moves[i, 0, 0] == taught.best[i]
        assert np.allclose(neighbours.wdl[i, 0, 0] / 255, records.wdl[twin], atol=0.003)
        assert taught.legal[i, taught.best[i]]
        assert neighbours.entries[i, 0, 1:].tolist() == found.entries[i, 0, :-1].tolist()
    evaluated = torch.from_numpy(neighbours.wdl[is_twin, 0, 0] / np.float32(255) - 1 / 3).abs().amax(dim=1) > 0.01
    assert 0.3 < float(evaluated.float().mean()) < 0.7
    changed = (taught.best != plain.best).numpy()
    assert not changed[~is_twin].any()
    assert 0.2 < changed[is_twin].mean() < 0.6
    assert np.array_equal(neighbours.distances[~is_twin], found.distances[~is_twin])
    again = add_twins(plain, 0.5, seed=1)
    assert torch.equal(again.best, taught.best)
    assert not torch.equal(add_twins(plain, 0.5, seed=2).best, taught.best)


def test_no_position_retrieves_its_own_game(data: Path, backbone: Path, memory: Path) -> None:
    dataset, opened = Dataset.open(data), Memory.open(memory)
    network, _ = load_weights(backbone / "weights.safetensors")
    rows = dataset.rows(MEMORY)
    embeddings = load_backbone(backbone / "weights.safetensors").embed_chunks(
        dataset.planes[rows], dataset.clocks[rows]
    )
    retriever = Retriever(network.config, opened, threads=1)
    games = dataset.game[rows]
    free = opened.game[retriever.search(embeddings).entries[:, 0, 0]]
    assert (free == games).mean() > 0.5  # these positions are in the memory: unhindered, they find themselves
    found = retriever.search(embeddings, games).entries
    assert (found >= 0).all()
    assert (opened.game[found] != games[:, None, None]).all()


def positions(count: int) -> tuple[np.ndarray, np.ndarray, list[chess.Board]]:
    rng = random.Random(5)
    boards, board = [], chess.Board()
    while len(boards) < count:
        boards.append(board.copy())
        board.push(rng.choice(list(board.legal_moves)))
        if board.is_game_over():
            board.reset()
    return stack([pack(board) for board in boards]), np.zeros(count, np.uint8), boards


def test_the_evaluator_lists_exactly_the_legal_moves(retrieval: Path, memory: Path) -> None:
    planes, clocks, boards = positions(40)
    mate = chess.Board("rnb1kbnr/pppp1ppp/8/4p3/6Pq/5P2/PPPPP2P/RNBQKBNR w KQkq - 1 3")
    planes[7], boards[7] = stack([pack(mate)])[0], mate
    evaluator = NetworkEvaluator.load(retrieval / "weights.safetensors", memory, threads=1)
    answer = evaluator.evaluate(planes, clocks)
    for b, board in enumerate(boards):
        moves = answer.moves[answer.offsets[b] : answer.offsets[b + 1]].tolist()
        assert moves == sorted(move_to_index(move, board) for move in board.legal_moves)
    assert len(answer.logits) == len(answer.moves) == answer.offsets[-1]
    assert np.allclose(answer.wdl.sum(axis=1), 1, atol=1e-5)


def test_memory_off_equals_the_stage_one_evaluator_and_on_differs(
    backbone: Path, retrieval: Path, memory: Path
) -> None:
    planes, clocks, _ = positions(16)
    stage1 = NetworkEvaluator.load(backbone / "weights.safetensors", None, threads=1).evaluate(planes, clocks)
    evaluator = NetworkEvaluator.load(retrieval / "weights.safetensors", memory, threads=1)
    on = evaluator.evaluate(planes, clocks)
    evaluator.use_memory = False
    off = evaluator.evaluate(planes, clocks)
    assert np.array_equal(off.logits, stage1.logits)
    assert np.array_equal(off.wdl, stage1.wdl)
    assert not np.array_equal(on.logits, off.logits)
    evaluator.use_memory = True
    assert np.array_equal(evaluator.evaluate(planes, clocks).logits, on.logits)


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_only_positions_with_a_neighbour_in_reach_ask_the_memory(retrieval: Path, memory: Path, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    planes, clocks, _ = positions(16)
    network, _ = load_weights(retrieval / "weights.safetensors")
    assert network.retrieval is not None
    with torch.no_grad():  # a memory that cannot be overheard
        network.retrieval.layer.feed_forward.down.bias.add_(20 * torch.randn(network.config.width))
    evaluator = NetworkEvaluator(Weights.of(network), "loud", Memory.open(memory), threads=1, backend=backend)
    assert evaluator.retriever is not None
    nearest = evaluator.retriever.search(evaluator.embeddings(planes, clocks)).distances[:, 0, 0]
    evaluator.memory_reach = float(np.sort(nearest)[7:9].mean())
    asks = nearest <= evaluator.memory_reach
    assert 0 < asks.sum() < 16
    mixed = evaluator.evaluate(planes, clocks)
    evaluator.memory_reach = float(nearest.max())
    on = evaluator.evaluate(planes, clocks)
    evaluator.memory_reach = -1.0
    off = evaluator.evaluate(planes, clocks)

    def far_from(other: Evaluations) -> NDArray[np.float32]:
        return np.add.reduceat(np.abs(mixed.logits - other.logits), mixed.offsets[:-1])

    assert np.array_equal(far_from(on) < 0.1 * far_from(off), asks)
    assert np.array_equal(far_from(off) < 0.1 * far_from(on), ~asks)


def test_kept_encodings_change_nothing(retrieval: Path, memory: Path) -> None:
    planes, clocks, _ = positions(24)
    evaluator = NetworkEvaluator.load(retrieval / "weights.safetensors", memory, threads=1)
    assert evaluator.encodings is not None
    first = evaluator.evaluate(planes, clocks)
    second = evaluator.evaluate(planes, clocks)
    for capacity in (24 * 4, 16):  # the second is less than 8 positions may have neighbours
        assert evaluator.retriever is not None
        evaluator.encodings = EncodingCache(evaluator.backend.encode, evaluator.retriever.memory, capacity)
        for start in range(0, 24, 8):
            part = slice(start, start + 8)
            small = evaluator.evaluate(planes[part], clocks[part])
            assert np.allclose(small.wdl, first.wdl[part], atol=0.02)
    assert np.allclose(first.logits, second.logits, atol=1e-3)


def test_neighbours_are_described_by_their_games(retrieval: Path, memory: Path) -> None:
    planes, clocks, _ = positions(1)
    evaluator = NetworkEvaluator.load(retrieval / "weights.safetensors", memory, threads=1)
    described = evaluator.neighbours(planes, clocks)
    assert len(described) == 4
    assert [item.distance for item in described] == sorted(item.distance for item in described)
    assert all("game ? - ?" in item.describe() for item in described)


def test_a_memory_of_other_weights_is_refused(data: Path, memory: Path, tmp_path: Path) -> None:
    train("backbone", "--data", data, "--run", tmp_path, "--steps", 2, "--seed", 9, *TINY)
    with pytest.raises(MemoryFileError, match="other weights"):
        NetworkEvaluator.load(tmp_path / "weights.safetensors", memory, threads=1)


def test_a_data_set_or_memory_in_place_of_weights_is_refused(data: Path, memory: Path) -> None:
    for path in (data, memory):
        with pytest.raises(WeightsError, match=path.name):
            NetworkEvaluator.load(path, None, threads=1)


def test_a_network_that_trusts_its_memory_plays_what_it_was_taught(
    data: Path, retrieval: Path, memory: Path, tmp_path: Path
) -> None:
    network, _ = load_weights(retrieval / "weights.safetensors")
    assert network.retrieval is not None
    assert network.retrieval.interpolation is not None
    with torch.no_grad():
        network.retrieval.interpolation.trust.bias[0] = 40
    trusting, out = tmp_path / "weights.safetensors", tmp_path / "figures.json"
    save_weights(trusting, network, network.config, {})
    before = memory.read_bytes()
    options = ["--weights", trusting, "--memory", memory, "--positions", 8, "--others", 32, "--json", out]
    done = run_script("teach.py", "--data", data, *options)
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    assert (figures["taught"], figures["played at 1 nodes"]) == (8, 1.0)
    assert memory.read_bytes() == before


def test_evaluate_reports_on_off_and_their_difference(
    data: Path, retrieval: Path, memory: Path, tmp_path: Path
) -> None:
    out = tmp_path / "numbers.json"
    done = run_script(
        "evaluate.py",
        "--data",
        data,
        "--weights",
        retrieval / "weights.safetensors",
        "--memory",
        memory,
        "--positions",
        64,
        "--reach",
        1e12,
        "--json",
        out,
    )
    assert done.returncode == 0, done.stderr
    numbers = json.loads(out.read_text())
    on, off = numbers["memory on"], numbers["memory off"]
    assert numbers["minus off"]["on"]["value_loss"]["mean"] == pytest.approx(
        on["value_loss"]["mean"] - off["value_loss"]["mean"], abs=1e-9
    )
    trained = load_weights(retrieval / "weights.safetensors")[1]["training.held_out"]
    assert f"top-1 {on['top1']['mean']:.4f}" in trained  # the same positions, measured by the training
    missing = run_script("evaluate.py", "--data", data, "--weights", tmp_path / "nowhere")
    assert missing.returncode != 0
    assert "does not exist" in missing.stderr
    assert "Traceback" not in missing.stderr
