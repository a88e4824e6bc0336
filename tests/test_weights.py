"""Weights files: what is saved comes back, what is damaged is refused with one sentence."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dejavu.model.config import PRESETS, NetworkConfig
from dejavu.model.network import Network
from dejavu.model.weights import Weights, WeightsError, fingerprint, load_weights, read_weights, save_weights


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    save_weights(path, Network(PRESETS["tiny"], retrieval=True), PRESETS["tiny"], {"command": "a test"})
    return path


def test_a_saved_network_comes_back(saved: Path) -> None:
    network, metadata = load_weights(saved)
    torch.manual_seed(0)
    original = Network(PRESETS["tiny"], retrieval=True).to(torch.bfloat16)
    assert network.config == PRESETS["tiny"]
    assert metadata["training.command"] == "a test"
    for name, value in original.state_dict().items():
        assert torch.equal(network.state_dict()[name], value)


def test_the_fingerprint_follows_the_backbone_and_only_that(saved: Path) -> None:
    network, _ = load_weights(saved)
    before = fingerprint(network)
    assert network.retrieval is not None
    network.retrieval.layer.attention.null += 1
    assert fingerprint(network) == before
    network.backbone.embedding.place += 1
    assert fingerprint(network) != before


def refusal(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_weights(path)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    return message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nowhere.safetensors")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    refusal(tmp_path)


def test_another_programs_file_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(2)}, path)
    assert "not a Dejavu network" in refusal(path)


def test_every_truncation_is_refused(saved: Path, tmp_path: Path) -> None:
    data = saved.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(data) // 2, len(data) - 1):
        path = tmp_path / "short.safetensors"
        path.write_bytes(data[:length])
        refusal(path)


def test_a_flipped_bit_of_a_tensor_is_refused(saved: Path, tmp_path: Path) -> None:
    data = saved.read_bytes()
    rng = random.Random(4)
    path = tmp_path / "flipped.safetensors"
    header = 8 + int.from_bytes(data[:8], "little")
    for place in rng.sample(range(header, len(data)), 60):
        damaged = bytearray(data)
        damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        refusal(path)


def test_every_flipped_bit_of_the_header_is_refused(tmp_path: Path) -> None:
    config = NetworkConfig(
        layout="ranks", width=1, layers=1, heads=1, attack_width=0, policy_width=1, value_width=1, chunks=1
    )
    path = tmp_path / "net.safetensors"
    save_weights(path, Network(config, retrieval=False), config, {"command": "a test"})
    data = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for place in range(8 + int.from_bytes(data[:8], "little")):
            for value in [data[place] ^ 1 << bit for bit in range(8)]:
                file.seek(place)
                file.write(bytes([value]))
                with pytest.raises(WeightsError) as caught:
                    read_weights(path)
                assert "\n" not in str(caught.value)
            file.seek(place)
            file.write(data[place : place + 1])
    assert read_weights(path)[0].config == config


def test_the_checksum_follows_config_and_retrieval_part() -> None:
    configs = PRESETS["tiny"], replace(PRESETS["tiny"], neighbours=3)
    networks = [Network(config, retrieval=retrieval) for config in configs for retrieval in (False, True)]
    for network in networks:
        network.load_state_dict(networks[1].state_dict(), strict=False)
    assert len({Weights.of(network).checksum for network in networks}) == len(networks)
