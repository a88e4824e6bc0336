"""What a network in training is shown of how games go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import chess
import numpy as np
import torch
from safetensors import safe_open
from training import curve, run_backbone

from dejavu.model.chess.attacks import piece_codes
from dejavu.model.chess.encoding import index_to_move, unpack
from dejavu.model.config import PRESETS
from dejavu.model.data.dataset import TRAIN, Dataset
from dejavu.model.network import Network
from dejavu.model.training.auxiliary import PLIES, UNKNOWN, AuxiliaryHeads, auxiliary_loss, continuation
from dejavu.model.training.batches import make_batch


def none_mirrored(rows: np.ndarray) -> np.ndarray:
    return np.zeros(len(rows), np.bool_)


def test_the_reply_and_the_board_are_those_of_the_game(data: Path) -> None:
    dataset = Dataset.open(data)
    rows = dataset.rows(TRAIN)[:400]
    reply, codes = continuation(dataset, rows, none_mirrored(rows))
    replies = boards = 0
    for i, row in enumerate(rows):
        board = unpack(dataset.planes[row])
        if reply[i] != UNKNOWN:
            board.push(index_to_move(int(dataset.best[row]), board))
            answer = index_to_move(int(dataset.best[row + 1]), unpack(dataset.planes[row + 1]))
            # Both boards are seen from the end of whoever is to move, so the reply's squares are turned over once.
            assert reply[i] == (answer.from_square ^ 56) * 64 + (answer.to_square ^ 56)
            assert chess.Move(answer.from_square ^ 56, answer.to_square ^ 56, answer.promotion) in board.legal_moves
            replies += 1
        if codes[i, 0] != UNKNOWN:
            assert codes[i].tolist() == piece_codes(dataset.planes[row + PLIES : row + PLIES + 1])[0].tolist()
            assert dataset.game[row + PLIES] == dataset.game[row]
            boards += 1
    assert replies > 300
    assert 200 < boards < replies


def test_nothing_is_foreseen_past_a_blunder_or_the_end_of_a_game(data: Path) -> None:
    dataset = Dataset.open(data)
    end = int(np.flatnonzero(np.diff(dataset.game))[0])  # last position of the first game
    rows = np.arange(end - PLIES - 2, end + 1)
    known = continuation(dataset, rows, none_mirrored(rows))
    assert (known.codes[:, 0] != UNKNOWN).tolist() == [True] * 3 + [False] * PLIES
    assert (known.reply != UNKNOWN)[-2:].tolist() == [True, False]

    better = dataset.best.copy()
    better[end - 3] ^= 1
    taught = continuation(replace(dataset, best=better), rows, none_mirrored(rows))
    assert (taught.codes == UNKNOWN).all()
    assert taught.reply[rows.tolist().index(end - 3)] == UNKNOWN
    assert taught.reply[rows.tolist().index(end - 4)] != known.reply[rows.tolist().index(end - 4)]  # the better reply

    last = np.array([len(dataset) - 1])
    assert all((part == UNKNOWN).all() for part in continuation(dataset, last, none_mirrored(last)))


def test_what_is_foreseen_is_mirrored_with_its_position(data: Path) -> None:
    dataset = Dataset.open(data)
    rows = dataset.rows(TRAIN)[:200]
    turned = continuation(dataset, rows, np.ones(len(rows), np.bool_))
    plain = continuation(dataset, rows, none_mirrored(rows))
    swapped = torch.arange(64) ^ 7
    assert torch.equal(turned.codes, plain.codes[:, swapped])
    assert torch.equal(turned.reply == UNKNOWN, plain.reply == UNKNOWN)
    seen = plain.reply != UNKNOWN
    assert torch.equal(turned.reply[seen], plain.reply[seen] ^ (7 * 64 + 7))


def test_a_perfect_forecast_costs_nothing_and_nothing_known_costs_nothing(data: Path) -> None:
    dataset = Dataset.open(data)
    rows = dataset.rows(TRAIN)[:32]
    torch.manual_seed(0)
    for config in (PRESETS["tiny"], replace(PRESETS["tiny"], attack_width=0)):
        _, predicted = AuxiliaryHeads(Network(config, retrieval=False))(make_batch(dataset, rows).inputs)
        truth = continuation(dataset, rows, none_mirrored(rows))
        assert auxiliary_loss(predicted, truth) > 1
        reply = 100 * torch.nn.functional.one_hot(truth.reply.clamp(min=0), predicted.reply.shape[1]).float()
        codes = 100 * torch.nn.functional.one_hot(truth.codes.clamp(min=0), predicted.codes.shape[2]).float()
        assert auxiliary_loss(predicted._replace(reply=reply, codes=codes), truth) < 1e-6
        unknown = truth._replace(
            reply=torch.full_like(truth.reply, UNKNOWN), codes=torch.full_like(truth.codes, UNKNOWN)
        )
        assert auxiliary_loss(predicted, unknown) == 0


def test_auxiliary_targets_change_the_training_and_is_no_part_of_the_weights(
    data: Path, backbone: Path, tmp_path: Path
) -> None:
    run_backbone(data, tmp_path, 12, auxiliary=False)
    assert curve(tmp_path) != curve(backbone)
    with safe_open(backbone / "weights.safetensors", "np") as file:
        assert set(file.keys()) == set(Network(PRESETS["tiny"], retrieval=False).state_dict())


def test_a_trained_net_is_given_a_dynamic_bias_and_begins_where_it_was(
    data: Path, backbone: Path, tmp_path: Path
) -> None:
    earlier = backbone / "weights.safetensors"
    run_backbone(data, tmp_path / "plain", 1, start_from=earlier, learning_rate=0)
    run_backbone(data, tmp_path / "grown", 1, start_from=earlier, learning_rate=0, dynamic_bias=4)
    assert curve(tmp_path / "grown") == curve(tmp_path / "plain")
    with safe_open(tmp_path / "grown" / "weights.safetensors", "np") as file:
        assert file.get_slice("backbone.maps").get_shape() == [4, 64 * 64]
