"""Positions after the best move, whose value alone is learned; and which positions are not worth many samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import chess
import numpy as np
import pytest
import torch

from dejavu.model.chess.encoding import mirror, pack, stack
from dejavu.model.config import PRESETS
from dejavu.model.data.dataset import TRAIN, Dataset
from dejavu.model.data.games import read_game
from dejavu.model.data.records import join
from dejavu.model.network import Network
from dejavu.model.training.backbone_run import BackboneRun
from dejavu.model.training.batches import make_batch
from dejavu.model.training.children import make_children
from dejavu.model.training.losses import Average, losses

SACRIFICE = "r1b2rk1/pp3ppp/2n5/3q4/3P4/2PB4/P1P2PPP/R2QR1K1 w - - 3 17"
CASTLING = "r3k2r/pppq1ppp/2n2n2/3pp3/3PP3/2N2N2/PPPQ1PPP/R3K2R b KQkq - 4 8"
BACK_RANK = "6k1/5ppp/8/8/8/8/8/K2R4 w - - 7 40"
QUEEN_UP = "3qk3/8/8/8/8/8/8/4K3 b - - 0 1"


def labelled(fen: str, move: str, evaluation: str) -> str:
    number = "1." if " w " in fen else "1..."
    return f'[SetUp "1"]\n[FEN "{fen}"]\n\n{{ [%eval {evaluation}] }} {number} {move} *\n'


def dataset_of(*games: str, source: str = "visited.pgn") -> Dataset:
    return join([read_game(text) for text in games], [TRAIN] * len(games), [0] * len(games), [source])


def test_the_value_after_the_best_move_is_the_positions_own_from_the_other_side() -> None:
    dataset = dataset_of(labelled(SACRIFICE, "Bxh7+", "2.5"), labelled(CASTLING, "O-O-O", "-0.7"))
    batch = make_children(dataset, np.arange(2), seed=1)
    for number, (fen, move) in enumerate(((SACRIFICE, "Bxh7+"), (CASTLING, "O-O-O"))):
        board = chess.Board(fen)
        board.push_san(move)
        expected = make_batch(
            dataset_of(labelled(board.fen(), board.san(next(iter(board.legal_moves))), "0")), np.arange(1)
        )
        assert torch.equal(batch.inputs.squares[number], expected.inputs.squares[0])
        assert torch.equal(batch.inputs.clocks[number], expected.inputs.clocks[0])
        assert torch.equal(batch.legal[number], expected.legal[0])
    parents = dataset.wdl_target(np.arange(2))
    assert parents[0, 0] > 0.9
    np.testing.assert_array_equal(batch.wdl.numpy(), parents[:, ::-1])


def test_children_teach_the_policy_nothing_and_leave_no_trace_in_its_mean() -> None:
    dataset = dataset_of(labelled(SACRIFICE, "Bxh7+", "2.5"), labelled(CASTLING, "O-O-O", "-0.7"))
    rows = np.arange(2)
    torch.manual_seed(1)
    network = Network(PRESETS["tiny"], retrieval=False)
    children, parents = make_children(dataset, rows, seed=1), make_batch(dataset, rows)
    after, before = (losses(network(batch.inputs), batch) for batch in (children, parents))
    gradients = torch.autograd.grad(after.total, list(network.parameters()), allow_unused=True)
    by_name = dict(zip((name for name, _ in network.named_parameters()), gradients, strict=True))
    assert all(value is None or not value.any() for name, value in by_name.items() if name.startswith("policy."))
    assert all(value is None or value.isfinite().all() for value in gradients)
    average = Average(torch.device("cpu"))
    average.add(before, 2)
    average.add(after, 2)
    policy, value, _ = average.means()
    assert policy == pytest.approx(float(before.policy.detach()))
    assert value == pytest.approx(float((before.value + after.value).detach()) / 2)


def test_where_the_best_move_ends_the_game_the_position_itself_is_learned() -> None:
    dataset = dataset_of(labelled(BACK_RANK, "Rd8#", "#1"))
    batch = make_children(dataset, np.arange(1), seed=1)
    planes = stack([pack(chess.Board(BACK_RANK))])
    own = [make_batch(replace(dataset, planes=each), np.arange(1)) for each in (planes, mirror(planes))]
    assert any(torch.equal(batch.inputs.squares, one.inputs.squares) for one in own)
    np.testing.assert_array_equal(batch.wdl.numpy(), dataset.wdl_target(np.arange(1)))


def test_children_without_castling_rights_are_mirrored_now_and_then() -> None:
    dataset = dataset_of(*[labelled(SACRIFICE, "Bxh7+", "2.5")] * 40)
    squares = make_children(dataset, np.arange(40), seed=1).inputs.squares
    assert 5 < sum(torch.equal(squares[0], one) for one in squares) < 35
    assert len({one.numpy().tobytes() for one in squares}) == 2


def test_children_have_their_share_of_a_batch(tmp_path: Path) -> None:
    visited = dataset_of(*[labelled(SACRIFICE, "Bxh7+", "2.5")] * 30)
    games = dataset_of(*[labelled(CASTLING, "O-O-O", "-0.7")] * 30, source="games.pgn")
    dataset = Dataset.join([visited, games])
    run = BackboneRun(data=(), folder=tmp_path, steps=1, batch=24, sources={"": 3}, children={"visited": 1})
    own, children = run.orders(dataset)
    assert children is not None
    assert len(own.rows(0)) == 18
    assert len(children.rows(0)) == 6
    seen = np.concatenate([children.rows(step) for step in range(5)])
    assert sorted(seen) == list(range(30))
    assert replace(run, children=None).orders(dataset)[1] is None


def test_a_source_that_no_game_file_has_is_no_source(tmp_path: Path) -> None:
    dataset = dataset_of(labelled(SACRIFICE, "Bxh7+", "2.5"))
    run = BackboneRun(data=(), folder=tmp_path, steps=1, sources={"visited": 2, "vistied": 1})
    with pytest.raises(ValueError, match="no positions to train on from 'vistied'"):
        run.orders(dataset)


def test_of_positions_that_the_men_decide_a_share_is_kept(tmp_path: Path) -> None:
    decided = labelled(QUEEN_UP, "Qd2+", "-9.5")
    sacrificed = labelled(QUEEN_UP, "Qd2+", "9.5")  # a queen ahead, and lost
    even = labelled(CASTLING, "O-O-O", "-9.5")
    level = labelled(QUEEN_UP, "Qd2+", "0.0")
    dataset = dataset_of(*[decided] * 200, sacrificed, even, level)
    rows = np.arange(203)
    assert dataset.is_plain(rows).tolist() == [True] * 200 + [False] * 3
    run = BackboneRun(data=(), folder=tmp_path, steps=1, plain=0.25)
    kept = run.rows_of(dataset, "visited")
    assert set(kept) >= {200, 201, 202}
    assert 30 < len(kept) - 3 < 70
    assert np.array_equal(kept, run.rows_of(dataset, "visited"))
    assert len(replace(run, plain=1.0).rows_of(dataset, "visited")) == 203
