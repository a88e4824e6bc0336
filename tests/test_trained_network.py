"""A network that was trained, with its memory: what the evaluator makes of them."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import chess
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from training import run_backbone, run_script

from dejavu.model.chess.encoding import move_to_index, pack, stack
from dejavu.model.evaluations import Evaluations
from dejavu.model.inference import NetworkEvaluator
from dejavu.model.neighbours import EncodingCache
from dejavu.model.weights import Weights, WeightsError, load_weights, save_weights
from dejavu.retrieval.memory import Memory, MemoryFileError


def positions(count: int) -> tuple[np.ndarray, np.ndarray, list[chess.Board]]:
    rng = random.Random(5)
    boards: list[chess.Board] = []
    board = chess.Board()
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
    off = evaluator.evaluate(planes, clocks, memory=False)
    assert np.array_equal(off.logits, stage1.logits)
    assert np.array_equal(off.wdl, stage1.wdl)
    assert not np.array_equal(on.logits, off.logits)
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
    assert all("game ? - ?" in item.describe(chess.Board()) for item in described)


def test_a_memory_of_other_weights_is_refused(data: Path, memory: Path, tmp_path: Path) -> None:
    run_backbone(data, tmp_path, 2, seed=9)
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
    # The training measured the same positions; cut into other parts, one may have another of two equal moves first.
    trained = load_weights(retrieval / "weights.safetensors")[1]["training.held_out"]
    policy, value, top1 = map(float, re.findall(r"\d+\.\d+", trained))
    assert on["policy_loss"]["mean"] == pytest.approx(policy, abs=0.002)
    assert on["value_loss"]["mean"] == pytest.approx(value, abs=0.002)
    assert on["top1"]["mean"] == pytest.approx(top1, abs=1.1 / 64)
    missing = run_script("evaluate.py", "--data", data, "--weights", tmp_path / "nowhere")
    assert missing.returncode != 0
    assert "does not exist" in missing.stderr
    assert "Traceback" not in missing.stderr
