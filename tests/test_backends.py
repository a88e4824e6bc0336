"""Every way of computing the network says the same, and one that is missing costs a sentence, not the game."""

import ctypes
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import chess
import numpy as np
import pytest
import torch
from fake_evaluator import Client
from memories import small_memory

from dejavu.engine.loader import Wanted
from dejavu.engine.search.evaluator import Evaluator
from dejavu.model import backends
from dejavu.model.backends import AUTO, CHOICES, PREFERENCE, compiled_cache, eight_bits, make_backend
from dejavu.model.backends.protocol import BackendError
from dejavu.model.backends.simplification import simplified
from dejavu.model.backends.torch_backend import TorchBackend
from dejavu.model.chess.encoding import pack, stack
from dejavu.model.chess.features import Features, features
from dejavu.model.config import PRESETS, NetworkConfig
from dejavu.model.neighbours import EncodingCache, Neighbours, look_up, record_arrays
from dejavu.model.network import Network
from dejavu.model.weights import Weights

CONFIGS = {
    "position": PRESETS["tiny"],
    "interpolation": replace(PRESETS["tiny"], interpolation=True),
    "dynamic bias": replace(PRESETS["tiny"], dynamic_bias=2),
    "narrow keys": replace(PRESETS["tiny"], key_width=4),
    "chunk": NetworkConfig(
        width=32, layers=1, heads=2, attack_width=0, policy_width=8, value_width=16,
        neighbour_width=16, neighbour_heads=2, chunks=4, retrieve_by="chunk",
    ),
}  # fmt: skip
FENS = (
    chess.STARTING_FEN,
    "r1bqkbnr/pppp1ppp/2n5/1B2p3/4P3/5N2/PPPP1PPP/RNBQK2R b KQkq - 3 3",
    "8/5pk1/4p1p1/3pP2p/1p1P1P1P/1P2K1P1/8/8 w - - 0 40",
    "8/8/1p1r1kp1/p1p2p1p/P1P2P1P/1P2R1P1/6K1/8 b - - 0 38",
    "r2q1rk1/pb1nbppp/1p2pn2/2pp4/2PP4/1P1BPN2/PB1N1PPP/R2Q1RK1 w - - 2 11",
)


def network_of(config: NetworkConfig) -> Network:
    torch.manual_seed(0)
    network = Network(config, retrieval=True)
    with torch.no_grad():
        for parameter in network.parameters():  # nothing may be hidden by a zero
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return network.eval().requires_grad_(False)


def tiny() -> Weights:
    return Weights.of(network_of(PRESETS["tiny"]))


def inputs() -> Features:
    return features(stack([pack(chess.Board(fen)) for fen in FENS]), np.arange(len(FENS), dtype=np.uint8))


def neighbours_of(config: NetworkConfig, count: int) -> Neighbours:
    """Made-up neighbours, some of them absent."""
    groups = config.chunks if config.retrieve_by == "chunk" else 1
    generator = np.random.default_rng(1)
    entries = generator.integers(0, 60, (count, groups, config.neighbours))
    entries[1, :, 2:] = -1
    entries[2] = -1
    return look_up(small_memory(), entries, (700 * generator.random(entries.shape)).astype(np.float32))


@pytest.fixture(params=[name for name in PREFERENCE if name != "cuda" or torch.cuda.is_available()])
def backend_name(request: pytest.FixtureRequest) -> str:
    if request.param == "openvino":
        pytest.importorskip("openvino")
    return str(request.param)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_backend_agrees_with_torch_float32(
    backend_name: str, config: NetworkConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_cache, "folder", lambda: None)
    monkeypatch.setattr(eight_bits, "is_fast", lambda: False)  # test_eight_bits.py says how near those are
    network, memory = network_of(config), small_memory()
    reference = TorchBackend(network, torch.device("cpu"), parts=1, dtype=torch.float32)
    backend = make_backend(backend_name, Weights.of(network), threads=2)
    given = inputs()
    found = neighbours_of(config, len(FENS))
    hidden, expected_hidden = backend.embed(given), reference.embed(given)
    chunks = backend.chunk_embeddings(hidden)
    assert np.allclose(chunks, reference.chunk_embeddings(expected_hidden), atol=0.15)
    answers = []
    for use_memory in (False, True):
        both = (backend, reference)
        encoded, expected_encoded = (
            EncodingCache(each.encode, memory, 64).encode(found) if use_memory else None for each in both
        )
        policy, wdl = backend.heads(hidden, encoded)
        expected = reference.heads(expected_hidden, expected_encoded)
        scale = float(np.abs(expected.policy).max())
        assert np.allclose(policy, expected.policy, atol=0.06 * scale)
        assert np.allclose(wdl, expected.wdl, atol=0.03 * float(np.abs(expected.wdl).max()) + 0.03)
        best = expected.policy.argmax(axis=1)
        assert np.all(policy[np.arange(len(FENS)), best] >= policy.max(axis=1) - 0.06 * scale)
        answers.append(expected)
    assert not np.allclose(answers[0].wdl, answers[1].wdl, atol=0.1)  # the neighbours do say something


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_simplified_network_computes_the_same(config: NetworkConfig) -> None:
    network = network_of(config)
    given, found, memory = inputs(), neighbours_of(config, len(FENS)), small_memory()
    cpu = torch.device("cpu")
    simpler, original = (TorchBackend(each, cpu, 1, torch.float32) for each in (simplified(network), network))
    hidden, expected = simpler.embed(given), original.embed(given)
    assert torch.allclose(hidden, expected - expected.mean(dim=-1, keepdim=True), atol=1e-4)
    encoded = EncodingCache(simpler.encode, memory, 64).encode(found)
    for read in (None, encoded):
        answer, right = simpler.heads(hidden, read), original.heads(expected, read)
        assert np.allclose(answer.policy, right.policy, atol=1e-3)
        assert np.allclose(answer.wdl, right.wdl, atol=1e-3)


def test_an_answer_does_not_depend_on_the_batch_it_sits_in(backend_name: str) -> None:
    backend = make_backend(backend_name, tiny(), threads=2)
    given = inputs()
    together = backend.heads(backend.embed(given), None)
    wdl = together.wdl.copy()
    for row in range(len(FENS)):
        alone = backend.heads(backend.embed(given.part(row, row + 1)), None)
        assert np.allclose(alone.wdl[0], wdl[row], atol=0.03)


@pytest.mark.parametrize("config", [CONFIGS["position"], CONFIGS["interpolation"]], ids=["position", "interpolation"])
def test_neighbours_say_the_same_to_groups_of_any_size(backend_name: str, config: NetworkConfig) -> None:
    backend = make_backend(backend_name, Weights.of(network_of(config)), threads=1)
    cache = EncodingCache(backend.encode, small_memory(), 64)
    hidden = backend.take(backend.embed(inputs()), np.arange(15) % len(FENS))
    found = neighbours_of(config, 15)
    together = backend.heads(hidden, cache.encode(found))
    for count in (1, 3, 7, 11, 14):
        rows = np.arange(15)[-count:]
        part = backend.heads(backend.take(hidden, rows), cache.encode(found.take(rows)))
        assert part.wdl.shape == (count, 3)
        assert np.allclose(part.wdl, together.wdl[rows], atol=0.05)
        assert np.allclose(part.policy, together.policy[rows], atol=0.03 * float(np.abs(together.policy).max()))


def test_records_are_encoded_alike_in_groups_of_any_size(backend_name: str) -> None:
    memory = small_memory()
    backend = make_backend(backend_name, tiny(), threads=1)
    together = backend.encode(record_arrays(memory, np.arange(7)))
    assert len(together) == 7
    for entry in (0, 6):
        alone = backend.encode(record_arrays(memory, np.array([entry])))
        assert np.allclose(alone[0], together[entry], atol=0.05)


def test_the_network_given_stays_as_it_was(backend_name: str) -> None:
    network = network_of(PRESETS["tiny"])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    make_backend(backend_name, Weights.of(network), threads=1)
    after = network.state_dict()
    assert all(torch.equal(after[name], value) and after[name].dtype == value.dtype for name, value in before.items())


def test_auto_passes_over_what_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    weights = tiny()
    assert make_backend(AUTO, weights, threads=1).name == "torch"
    with pytest.raises(BackendError, match="openvino is not installed"):
        make_backend("openvino", weights, threads=1)
    with pytest.raises(BackendError, match="CUDA"):
        make_backend("cuda", weights, threads=1)
    with pytest.raises(BackendError, match="auto, cuda, openvino, torch"):
        make_backend("abacus", weights, threads=1)


def test_a_backend_that_computes_nonsense_is_refused_and_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    from dejavu.model.backends import openvino_conversion

    monkeypatch.setattr(compiled_cache, "folder", lambda: tmp_path)

    convert = openvino_conversion.convert

    def wrong(network: Network) -> openvino_conversion.Converted:
        converted = convert(network)
        return converted._replace(wdl=converted.wdl[::-1] + 0.1)

    monkeypatch.setattr(openvino_conversion, "convert", wrong)
    with pytest.raises(BackendError, match="wrong"):
        make_backend("openvino", tiny(), threads=1)
    assert not list(tmp_path.iterdir())


class _Choosy(Client):
    """An engine on a machine where only some backends can be had."""

    missing = ("cuda",)

    def _load(self, files: Wanted) -> Evaluator:
        if files.backend in self.missing:
            raise BackendError("torch sees no CUDA device")
        return super()._load(files)


def test_a_missing_backend_costs_one_sentence_and_the_last_good_one_stays() -> None:
    client = _Choosy()
    client.ready()
    client.send("setoption name Backend value cuda")
    assert client.ready() == [
        "info string cannot use the backend cuda: torch sees no CUDA device; the last good one stays"
    ]
    assert [loaded.backend for loaded in client.loaded] == ["auto"]
    assert client.go("position startpos", "go nodes 10")[-1].startswith("bestmove ")
    client.close()


def test_a_missing_backend_at_the_start_is_replaced() -> None:
    client = _Choosy()
    client.send("setoption name Backend value cuda")
    said = client.ready()
    assert said == ["info string cannot use the backend cuda: torch sees no CUDA device; another is chosen"]
    assert [loaded.backend for loaded in client.loaded] == ["auto"]
    client.close()


MASKED = """
import numpy as np, torch, test_backends
from dejavu.model.backends import make_backend
from dejavu.model.weights import Weights
network = test_backends.network_of(test_backends.PRESETS["tiny"])
backend = make_backend("auto", Weights.of(network), threads=1)
answer = backend.heads(backend.embed(test_backends.inputs()), None)
reference = test_backends.TorchBackend(network, torch.device("cpu"), parts=1, dtype=torch.float32)
expected = reference.heads(reference.embed(test_backends.inputs()), None)
assert np.allclose(answer.wdl, expected.wdl, atol=0.02), (answer.wdl, expected.wdl)
print(backend.precision)
"""


def test_without_avx512_the_choice_computes_in_float32() -> None:
    masked = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    environment = {**os.environ, **masked, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", MASKED], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "float32"


@pytest.mark.parametrize("driver", ["none", "nvidia", "amd"])
def test_torch_is_asked_for_a_gpu_only_where_a_driver_is(
    driver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(library: str) -> None:
        if driver != "nvidia" or library not in ("libcuda.so.1", "nvcuda.dll"):
            raise OSError

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(backends, "ROCM_DEVICE", str(tmp_path if driver == "amd" else tmp_path / "absent"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    reason = "no driver of a GPU for CUDA or ROCm" if driver == "none" else "torch sees no CUDA device"
    with pytest.raises(BackendError, match=reason):
        make_backend("cuda", tiny(), threads=1)


def test_importing_the_names_loads_nothing_heavy() -> None:
    code = "import sys, dejavu.model.backends; assert not {'torch', 'openvino'} & set(sys.modules)"
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=True
    )


def test_the_option_offers_what_there_is() -> None:
    from dejavu.engine.options import FIELDS

    assert FIELDS["backend"][1].choices == CHOICES
