"""Linear maps in integers of eight bits: near enough to the network, and not used where they are not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_backends import inputs, network_of, tiny

from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.model.backends import compiled_cache, eight_bits, make_backend
from dejavu.model.backends.eight_bits import LEVELS, Range, best_range, linear_maps
from dejavu.model.backends.examples import varied_features
from dejavu.model.backends.protocol import Backend
from dejavu.model.backends.torch_backend import TorchBackend
from dejavu.model.chess.features import Features
from dejavu.model.config import PRESETS
from dejavu.model.weights import Weights, load_weights

CPU = torch.device("cpu")


@pytest.fixture
def openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO, with nothing compiled before."""
    pytest.importorskip("openvino")
    monkeypatch.setattr(compiled_cache, "folder", lambda: None)


def values(backend: Backend, given: Features) -> NDArray[np.float32]:
    """[B] win less loss"""
    win, _, loss = backend.heads(backend.embed(given), None).chances.T
    difference: NDArray[np.float32] = win - loss
    return difference


def test_a_range_is_cut_where_the_error_is_least() -> None:
    numbers = np.random.default_rng(0).normal(size=50_000).astype(np.float32)

    def error(low: float, high: float) -> float:
        step = (high - low) / (LEVELS - 1)
        return float(np.square(np.clip(np.round(numbers / step) * step, low, high) - numbers).mean())

    found = best_range(numbers)
    assert found.high - found.low < 0.95 * (numbers.max() - numbers.min())
    assert error(*found) < 0.95 * error(float(numbers.min()), float(numbers.max()))


@pytest.mark.parametrize("numbers", [[0.0, 0.1, 5.0], [-3.0, -1.0], [2.0, 3.0], [-0.001, 7.0]])
def test_a_range_has_zero_as_one_of_its_levels(numbers: list[float]) -> None:
    low, high = best_range(np.array(numbers, np.float32))
    assert low <= 0 <= high
    step = (high - low) / (LEVELS - 1)
    assert low / step == pytest.approx(round(low / step), abs=1e-6)
    assert np.abs(np.clip(np.round(np.array(numbers) / step) * step, low, high) - numbers).max() <= 0.2 * max(
        map(abs, numbers)
    )


def test_what_is_always_zero_fits_into_its_range() -> None:
    low, high = best_range(np.zeros(10, np.float32))
    assert low < 0 < high


def test_the_maps_are_those_that_read_every_token_of_a_layer_but_for_two_of_the_first() -> None:
    network, _ = load_weights(wanted(Config()).weights)
    names = set(linear_maps(network.backbone))
    of_a_layer = {"attention.qkv", "attention.out", "attention.messages", "feed_forward.up", "feed_forward.down"}
    all_of_them = {f"layers.{layer}.{name}" for layer in range(network.config.layers) for name in of_a_layer}
    assert names == all_of_them - {"layers.0.attention.qkv", "layers.0.attention.out"}


def test_they_are_for_processors_with_vnni_whose_instructions_are_not_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)

    def processor(**capabilities: bool) -> bool:
        monkeypatch.setattr(torch, "cpu", SimpleNamespace(get_capabilities=lambda: capabilities))
        return eight_bits.is_fast()

    assert processor(avx2=True, avx512_vnni=True)
    assert processor(avx2=True, avx_vnni=True)
    assert not processor(avx2=True, avx512_vnni=False, avx_vnni=False)
    assert not processor(architecture=True)
    monkeypatch.setattr(torch, "cpu", SimpleNamespace())  # an older torch
    assert not eight_bits.is_fast()
    assert processor(avx512_vnni=True)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert not processor(avx512_vnni=True)


def test_the_shipped_network_says_nearly_the_same_in_eight_bits(openvino: None) -> None:
    if not eight_bits.is_fast():
        pytest.skip("no VNNI")
    network, _ = load_weights(wanted(Config()).weights)
    backend = make_backend("openvino", Weights.of(network), threads=1)
    assert backend.precision.startswith("int8 and ")
    given = varied_features(64 + 64).part(64, 128)  # the first ones were looked at
    reference = TorchBackend(network, CPU, 1, torch.float32)
    error = values(backend, given) - values(reference, given)
    assert 0 < np.sqrt(np.square(error).mean()) < 0.05
    policy, expected = (each.heads(each.embed(given), None).policy for each in (backend, reference))
    assert (policy.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.9
    keys, right = (each.chunk_embeddings(each.embed(given)) for each in (backend, reference))
    assert np.linalg.norm(keys - right) < 0.05 * np.linalg.norm(right)  # what the memory is asked with


def test_a_network_that_loses_by_it_is_computed_as_before(openvino: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eight_bits, "is_fast", lambda: True)
    monkeypatch.setattr(eight_bits, "best_range", lambda numbers: Range(0.0, 0.1))
    network = network_of(PRESETS["tiny"])
    backend = make_backend("openvino", Weights.of(network), threads=1)
    assert "int8" not in backend.precision
    reference = TorchBackend(network, CPU, 1, torch.float32)
    assert np.allclose(values(backend, inputs()), values(reference, inputs()), atol=0.05)


def test_a_network_whose_maps_are_not_found_is_computed_as_before(
    openvino: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eight_bits, "is_fast", lambda: True)
    monkeypatch.setattr(eight_bits, "_name_of_map", lambda operation: "")
    assert "int8" not in make_backend("openvino", tiny(), threads=1).precision
