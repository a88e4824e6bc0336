"""A trained network made narrower: the same where that is possible, near to it elsewhere, and ready to train on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import chess
import numpy as np
import pytest
import torch
from training import run_backbone

from dejavu.model.backbone import Inputs, SelfAttention, as_inputs
from dejavu.model.chess.attacks import attacks
from dejavu.model.chess.encoding import pack, stack
from dejavu.model.chess.features import features
from dejavu.model.config import PRESETS
from dejavu.model.network import Network
from dejavu.model.training.narrow import narrowed
from dejavu.model.weights import load_weights

CONFIG = PRESETS["tiny"]
HEAD = CONFIG.width // CONFIG.heads
GAME = "e4 e5 Nf3 Nc6 Bb5 a6 Ba4 Nf6 O-O Be7 Re1 b5 Bb3 d6 c3 O-O h3 Nb8 d4 Nbd7"


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    """The positions along a game."""
    board, packed = chess.Board(), []
    for move in GAME.split():
        board.push_san(move)
        packed.append(pack(board))
    planes = stack(packed)
    return as_inputs(features(planes, np.zeros(len(planes), np.uint8), attacks(planes)), torch.device("cpu"))


def network() -> Network:
    torch.manual_seed(1)
    made = Network(CONFIG, retrieval=False).eval()
    for attention in attentions(made):
        assert attention.messages is not None
        for linear in (attention.qkv, attention.messages):
            torch.nn.init.normal_(linear.weight, std=0.4)
            torch.nn.init.normal_(linear.bias, std=0.4)
    return made


def attentions(made: Network) -> list[SelfAttention]:
    return [module for module in made.backbone.modules() if isinstance(module, SelfAttention)]


def distance(one: Network, other: Network, inputs: Inputs) -> float:
    with torch.no_grad():
        return float((one.backbone(inputs) - other.backbone(inputs)).square().mean())


def with_only(made: Network, keys: int, messages: int) -> Network:
    """Its heads compare by the first numbers alone, and no more than the first go along attacks."""
    with torch.no_grad():
        for attention in attentions(made):
            assert attention.messages is not None
            for parameter in (attention.qkv.weight, attention.qkv.bias):
                parameter.view(CONFIG.heads, -1, *parameter.shape[1:])[:, keys:HEAD] = 0
            for parameter in (attention.messages.weight, attention.messages.bias):
                parameter.view(2, -1, *parameter.shape[1:])[:, messages:] = 0
    return made


def test_what_is_not_used_is_left_out_without_loss(inputs: Inputs) -> None:
    made = with_only(network(), 4, 3)
    narrow = narrowed(made, inputs, 4, 3)
    assert narrow.config == replace(CONFIG, key_width=4, attack_width=3)
    assert distance(made, narrow, inputs) < 1e-8
    for attention in attentions(narrow):
        assert attention.qkv.out_features == CONFIG.heads * (4 + 4 + HEAD)
        assert attention.out.in_features == CONFIG.width + 2 * 3


@pytest.mark.parametrize(("keys", "messages"), [(HEAD // 2, None), (None, CONFIG.attack_width // 2)])
def test_the_best_numbers_are_kept(inputs: Inputs, keys: int | None, messages: int | None) -> None:
    cut_off = with_only(network(), keys or HEAD, messages or CONFIG.attack_width)
    narrow = narrowed(network(), inputs, keys, messages)
    assert distance(network(), narrow, inputs) < 0.5 * distance(network(), cut_off, inputs)


@pytest.mark.parametrize(
    ("widths", "sentence"),
    [
        ((HEAD + 1, None), "key width is 16 cannot be narrowed to 17"),
        ((0, None), "key width is 16 cannot be narrowed to 0"),
        ((None, 9), "attack width is 8 cannot be narrowed to 9"),
    ],
)
def test_a_net_cannot_be_made_wider(inputs: Inputs, widths: tuple[int | None, int | None], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        narrowed(network(), inputs, *widths)


def test_a_run_goes_on_narrower(data: Path, backbone: Path, tmp_path: Path) -> None:
    options = {"start_from": backbone / "weights.safetensors", "learning_rate": 0.0}
    run_backbone(data, tmp_path / "narrow", 1, key_width=8, attack_width=4, **options)
    config = load_weights(tmp_path / "narrow" / "weights.safetensors")[0].config
    assert (config.key_width, config.attack_width) == (8, 4)
    again = {"start_from": tmp_path / "narrow" / "weights.safetensors", "learning_rate": 0.0}
    run_backbone(data, tmp_path / "again", 1, key_width=8, **again)
    assert load_weights(tmp_path / "again" / "weights.safetensors")[0].config == config
