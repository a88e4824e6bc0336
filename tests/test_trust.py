"""scripts/trust.py: how much a net trusts what it remembers is changed by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training import run_script

from dejavu.model.chunked_cross_attention import EncodedNeighbours
from dejavu.model.config import PRESETS
from dejavu.model.neighbour_encoder import FIRST_PLY
from dejavu.model.network import Network
from dejavu.model.training.retrieval_run import take_over_retrieval
from dejavu.model.training.trust import change_trust
from dejavu.model.weights import WeightsError, load_weights, read_weights, save_weights

TINY = replace(PRESETS["tiny"], interpolation=True)
MOVE, FAR = 77, 1e9


def saved(path: Path, interpolation: bool = True, retrieval: bool = True) -> Path:
    torch.manual_seed(1)
    config = replace(TINY, interpolation=interpolation)
    save_weights(path, Network(config, retrieval), config, {"name": "doubting", "date": "2026-11-30"})
    return path


def logit_of_the_remembered_move(path: Path, distance: float) -> float:
    """What is added to the network's own logit where one entry is remembered at this squared distance."""
    network, _ = load_weights(path)
    assert network.retrieval is not None
    assert network.retrieval.interpolation is not None
    torch.manual_seed(2)
    gains = network.retrieval.interpolation.float()(
        EncodedNeighbours(
            tokens=torch.randn(1, 1, 1, FIRST_PLY + 1, TINY.neighbour_width),
            distances=torch.full((1, 1, 1), distance),
            present=torch.ones(1, 1, 1, dtype=torch.bool),
            moves=torch.full((1, 1, 1), MOVE),
            wdl=torch.full((1, 1, 1, 3), 1 / 3),
        )
    )
    return float(gains.policy[0, MOVE])


def test_the_odds_of_the_move_are_multiplied_where_the_very_position_is_remembered(tmp_path: Path) -> None:
    net, out = saved(tmp_path / "net.safetensors"), tmp_path / "trusting.safetensors"
    done = run_script("trust.py", net, "--factor", "5", "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"wrote {out}: the odds of a remembered move are 5 times those that were learnt\n"
    more = logit_of_the_remembered_move(out, 0) - logit_of_the_remembered_move(net, 0)
    assert more == pytest.approx(1.609, abs=0.01)  # ln 5
    assert logit_of_the_remembered_move(out, FAR) == 0


def test_the_backbone_and_what_is_said_of_the_net_stay(tmp_path: Path) -> None:
    net, out = saved(tmp_path / "net.safetensors"), tmp_path / "trusting.safetensors"
    change_trust(net, 5, out, "", "trust.py")
    assert read_weights(out)[0].fingerprint == read_weights(net)[0].fingerprint  # so the memory still fits
    told = read_weights(out)[1]
    assert (told["training.name"], told["training.date"]) == ("doubting", "2026-11-30")
    twice = tmp_path / "more.safetensors"
    assert change_trust(out, 2, twice, "", "").endswith("10 times those that were learnt")


def test_training_goes_on_from_what_was_learnt(tmp_path: Path) -> None:
    net, out = saved(tmp_path / "net.safetensors"), tmp_path / "trusting.safetensors"
    change_trust(net, 5, out, "", "trust.py")
    learnt, going_on = load_weights(net)[0].retrieval, Network(TINY, retrieval=True).retrieval
    assert learnt is not None
    assert going_on is not None
    take_over_retrieval(going_on, out)
    for name, value in learnt.state_dict().items():
        assert torch.allclose(going_on.state_dict()[name], value.float(), atol=0.01), name


@pytest.mark.parametrize(("interpolation", "retrieval"), [(True, False), (False, True)])
def test_a_net_that_trusts_in_no_move_is_refused(tmp_path: Path, interpolation: bool, retrieval: bool) -> None:
    net = saved(tmp_path / "net.safetensors", interpolation, retrieval)
    with pytest.raises(WeightsError, match="has no interpolation, so it trusts in no remembered move"):
        change_trust(net, 5, tmp_path / "out.safetensors", "", "")
    assert not (tmp_path / "out.safetensors").exists()
