"""Weights files: what is saved comes back, what is damaged is refused with one sentence."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dejavu.engine.loader import Loader, load_network
from dejavu.engine.options import Config
from dejavu.model import weights as weights_module
from dejavu.model.config import PRESETS, NetworkConfig
from dejavu.model.network import Network
from dejavu.model.shapes import tensor_shapes
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
    network.retrieval.layer.attention.null.add_(1)
    assert fingerprint(network) == before
    network.backbone.embedding.place.add_(1)
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
    for offset in rng.sample(range(header, len(data)), 60):
        damaged = bytearray(data)
        damaged[offset] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        refusal(path)


def test_every_flipped_bit_of_the_header_is_refused(tmp_path: Path) -> None:
    config = NetworkConfig(width=1, layers=1, heads=1, attack_width=0, policy_width=1, value_width=1, chunks=1)
    path = tmp_path / "net.safetensors"
    save_weights(path, Network(config, retrieval=False), config, {"command": "a test"})
    data = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for offset in range(8 + int.from_bytes(data[:8], "little")):
            for value in [data[offset] ^ 1 << bit for bit in range(8)]:
                file.seek(offset)
                file.write(bytes([value]))
                with pytest.raises(WeightsError) as caught:
                    read_weights(path)
                assert "\n" not in str(caught.value)
            file.seek(offset)
            file.write(data[offset : offset + 1])
    assert read_weights(path)[0].config == config


def test_the_checksum_follows_config_and_retrieval_part() -> None:
    configs = PRESETS["tiny"], replace(PRESETS["tiny"], neighbours=3)
    networks = [Network(config, retrieval=retrieval) for config in configs for retrieval in (False, True)]
    for network in networks:
        network.load_state_dict(networks[1].state_dict(), strict=False)
    assert len({Weights.of(network).checksum for network in networks}) == len(networks)


def forged(**values: object) -> NetworkConfig:
    """The tiny config with other values, those that no config can have included."""
    config = replace(PRESETS["tiny"])
    for name, value in values.items():
        object.__setattr__(config, name, value)
    return config


WRONG_VALUES = [
    *({name: 10**n} for name in ("layers", "neighbour_layers", "neighbours", "width", "chunks") for n in (7, 9, 400)),
    {"heads": 8},
    {"heads": 4},
    {"layers": 3},
    {"layers": True},
    {"width": 64},
    {"dynamic_bias": 2},
    {"dynamic_bias": -1},
    {"interpolation": True},
    {"attack_width": 0},
    {"layout": "hexagons"},
    {"neighbour_heads": 2},
    {"value_width": 2.5},
    {"shifted": 1},
]


@pytest.mark.parametrize(
    "values", WRONG_VALUES, ids=lambda values: " ".join(f"{k} {v!r:.12}" for k, v in values.items())
)
def test_a_config_of_another_network_is_refused_before_anything_is_built(
    values: dict[str, object], saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.safetensors"
    save_weights(path, load_weights(saved)[0], forged(**values), {})
    monkeypatch.setattr(weights_module, "_network", None)
    with pytest.raises(WeightsError, match="config") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


def test_a_config_nested_too_deep_is_refused() -> None:
    with pytest.raises(ValueError, match="not the fields"):
        NetworkConfig.from_json("[" * 100_000)


def test_the_last_good_network_plays_on_instead_of_a_monstrous_one(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "monstrous.safetensors"
    save_weights(path, load_weights(saved)[0], forged(layers=10_000_000), {})
    complaints: list[str] = []
    loader = Loader(load_network, complaints.append)
    config = replace(Config(), weights_file=str(saved), memory_file="", backend="torch")
    assert loader.load(config)
    good = loader.evaluator
    assert not loader.load(replace(config, weights_file=str(path)))
    assert loader.evaluator is good
    (sentence,) = complaints
    assert "monstrous.safetensors" in sentence
    assert "the last good network plays on" in sentence


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("retrieval", [False, True])
@pytest.mark.parametrize("interpolation", [False, True])
def test_the_shapes_are_those_of_the_modules(name: str, retrieval: bool, interpolation: bool) -> None:
    config = replace(PRESETS[name], interpolation=interpolation, neighbour_heads=2, neighbour_layers=3, value_width=24)
    with torch.device("meta"):
        network = Network(config, retrieval)
    assert tensor_shapes(config, retrieval) == {key: tuple(value.shape) for key, value in network.state_dict().items()}


def test_a_file_of_an_older_format_is_refused_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old.safetensors"
    with monkeypatch.context() as before:
        before.setattr("dejavu.model.weights.FORMAT", "dejavu-weights-2")
        save_weights(path, Network(PRESETS["tiny"], retrieval=False), PRESETS["tiny"], {})
    with pytest.raises(WeightsError, match=r"old\.safetensors is not a Dejavu network of format \S+: dejavu-weights-2"):
        read_weights(path)
