"""What a training step is given: batches, mirrored samples, twins, targets and losses, the same in every run."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import chess
import numpy as np
import pytest
import torch

from dejavu.model.chess.encoding import MIRRORED_MOVES, index_to_move, mirror, pack, stack, unpack
from dejavu.model.config import PRESETS
from dejavu.model.data.dataset import MEMORY, TRAIN, Dataset
from dejavu.model.inference import load_backbone
from dejavu.model.neighbours import Retriever
from dejavu.model.network import Network, Outputs
from dejavu.model.training.batches import Sampler, add_neighbours, add_twins, make_batch, mirrored_rows, prefetch
from dejavu.model.training.losses import losses
from dejavu.model.training.replicas import Replicas
from dejavu.model.weights import load_weights
from dejavu.retrieval.memory import Memory
from dejavu.retrieval.moves import NO_MOVE


def test_rows_depend_on_seed_and_step_alone_and_every_epoch_sees_every_row_once() -> None:
    sources = {"a": np.arange(100), "b": np.arange(100, 130)}
    order = Sampler(sources, {"a": 2, "b": 1}, batch=15, seed=3)
    again = Sampler(sources, {"a": 2, "b": 1}, batch=15, seed=3)
    steps = [order.rows(step) for step in range(10)]
    assert all(np.array_equal(again.rows(step), steps[step]) for step in reversed(range(10)))
    assert sorted(row for rows in steps for row in rows if row < 100) == list(range(100))
    assert not np.array_equal(Sampler(sources, {"a": 2, "b": 1}, 15, seed=4).rows(0), steps[0])


def test_the_thread_that_prepares_batches_ends_with_the_training() -> None:
    threads = set()

    def make(step: int) -> int:
        threads.add(threading.current_thread())
        return step

    with prefetch(make, range(1000)) as batches:
        assert [next(batches) for _ in range(3)] == [0, 1, 2]
    (thread,) = threads
    assert thread is not threading.current_thread()
    assert not thread.is_alive()  # it aborted the process that ended beside it


def test_a_batch_that_cannot_be_made_ends_the_training_when_its_turn_comes() -> None:
    def make(step: int) -> int:
        if step == 2:
            raise ValueError("row 7 has no legal move")
        return step

    with prefetch(make, range(5)) as batches:
        assert [next(batches) for _ in range(2)] == [0, 1]
        with pytest.raises(ValueError, match="row 7"):
            next(batches)


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
    torch.autograd.backward(losses(network(make_batch(dataset, rows).inputs), make_batch(dataset, rows)).total)
    expected = {name: value.grad.clone() for name, value in network.named_parameters() if value.grad is not None}
    network.zero_grad()
    replicas = Replicas(network, 3, lambda replica, batch: losses(replica(batch.inputs), batch))
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


def test_the_value_loss_is_zero_only_for_the_target(data: Path) -> None:
    dataset = Dataset.open(data)
    batch = make_batch(dataset, dataset.rows(TRAIN)[:32])
    perfect = Outputs(torch.zeros(32, batch.legal.shape[1]), (batch.wdl + 1e-9).log())
    assert abs(losses(perfect, batch).value.item()) < 1e-5
    assert losses(perfect._replace(wdl=torch.zeros(32, 3)), batch).value.item() > 0.5


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
    records, slots, neighbours = taught.neighbours
    is_twin = (slots[:, 0, 0] >= len(plain.neighbours.records.wdl)).numpy()
    assert 60 < is_twin.sum() < 140
    for i in np.flatnonzero(is_twin):
        twin = slots[i, 0, 0]
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
