"""A network is compiled once and then comes from the cache, and nothing that befalls the cache ever matters."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_backends import FENS, inputs, network_of

from dejavu.model.backends import compiled_cache, make_backend
from dejavu.model.config import PRESETS
from dejavu.model.inference import NetworkEvaluator
from dejavu.model.network import Network
from dejavu.model.weights import Weights, WeightsError, save_weights


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path / "dejavu"


def test_what_was_written_is_read_under_its_key_only(cache: Path) -> None:
    assert compiled_cache.read("a") is None
    compiled_cache.write("a", {"one": b"\x01\x02", "empty": b""})
    assert compiled_cache.read("a") == {"one": b"\x01\x02", "empty": b""}
    assert compiled_cache.read("b") is None
    (path,) = cache.iterdir()
    compiled_cache.write("b", {"one": b""})
    (other,) = set(cache.iterdir()) - {path}
    path.replace(other)  # the right name, made for something else
    assert compiled_cache.read("b") is None


def test_damaged_files_are_passed_over_and_replaced(cache: Path) -> None:
    compiled_cache.write("a", {"one": bytes(100)})
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    for damaged in (b"", whole[:5], whole[:-1], whole[:60] + b"x" + whole[61:], b"x" + whole):
        path.write_bytes(damaged)
        assert compiled_cache.read("a") is None
    compiled_cache.write("a", {"one": b"1"})
    assert compiled_cache.read("a") == {"one": b"1"}


def test_a_folder_that_cannot_be_written_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(compiled_cache, "folder", lambda: tmp_path / "file")
    compiled_cache.write("a", {"one": b"1"})
    assert compiled_cache.read("a") is None
    monkeypatch.setattr(compiled_cache, "folder", lambda: None)
    compiled_cache.write("a", {"one": b"1"})
    assert compiled_cache.read("a") is None


def test_only_the_files_used_last_stay(cache: Path) -> None:
    for number in range(compiled_cache.KEPT_FILES):
        compiled_cache.write(str(number), {"one": b"1"})
        for path in cache.iterdir():  # all of them equally old
            os.utime(path, (1, 1))
    assert compiled_cache.read("3") is not None  # used just now
    for number in range(100, 100 + compiled_cache.KEPT_FILES - 1):
        compiled_cache.write(str(number), {"one": b"1"})
    assert compiled_cache.read("3") is not None
    assert compiled_cache.read("4") is None
    assert len(list(cache.iterdir())) == compiled_cache.KEPT_FILES


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/var/mine"}, "/var/mine/dejavu"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/anna/.cache/dejavu"),
        ("linux", {}, "/home/anna/.cache/dejavu"),
        ("darwin", {}, "/home/anna/Library/Caches/dejavu"),
        ("win32", {"LOCALAPPDATA": "/Local"}, "/Local/dejavu"),
    ],
)
def test_caches_are_kept_where_the_system_wants_them(
    platform: str, environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/anna"))
    assert compiled_cache.folder() == Path(expected)


def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert compiled_cache.folder() is None


def unwanted() -> Network:
    raise AssertionError("the torch modules are not needed")


def without_modules(weights: Weights) -> Weights:
    return Weights(
        weights.config, weights.has_retrieval, weights.parameters, weights.checksum, weights.fingerprint, unwanted
    )


@pytest.mark.usefixtures("cache")
def test_the_second_start_needs_no_torch_modules_and_answers_alike() -> None:
    pytest.importorskip("openvino")
    weights = Weights.of(network_of(PRESETS["tiny"]))
    first = make_backend("openvino", weights, threads=1)
    expected = first.heads(first.embed(inputs()), None)
    second = make_backend("openvino", without_modules(weights), threads=1)
    found = second.heads(second.embed(inputs()), None)
    assert len(found.policy) == len(FENS)
    assert np.allclose(found.policy, expected.policy, atol=1e-3)
    assert np.allclose(found.wdl, expected.wdl, atol=1e-3)
    assert second.precision == first.precision


@pytest.mark.usefixtures("cache")
def test_weights_that_differ_in_one_number_are_compiled_anew() -> None:
    pytest.importorskip("openvino")
    network = network_of(PRESETS["tiny"])
    before = make_backend("openvino", Weights.of(network), threads=1)
    network.value.wdl.bias.data += 2
    after = make_backend("openvino", Weights.of(network), threads=1)
    moved = after.heads(after.embed(inputs()), None).wdl - before.heads(before.embed(inputs()), None).wdl
    assert np.allclose(moved, 2, atol=0.1)


def test_a_network_without_its_retrieval_part_is_compiled_anew(cache: Path) -> None:
    pytest.importorskip("openvino")
    config = PRESETS["tiny"]
    whole, bare = Weights.of(network_of(config)), Weights.of(Network(config, retrieval=False).eval())
    bare.checksum = whole.checksum  # as if it said nothing of the retrieval part
    for weights in (whole, bare, whole):
        make_backend("openvino", weights, threads=1)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.usefixtures("cache")
def test_a_flipped_config_or_flag_is_refused_though_the_network_is_compiled(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = tmp_path / "net.safetensors"
    config = replace(PRESETS["tiny"], layers=1)
    save_weights(path, network_of(config), config, {})
    NetworkEvaluator.load(path, None, 1, "openvino")
    content = path.read_bytes()
    for offset in (content.index(b'neighbours\\": 1') + 14, content.index(b'"retrieval":"1"') + 13):
        assert content[offset : offset + 1] == b"1"
        for bit in range(8):
            path.write_bytes(content[:offset] + bytes([content[offset] ^ 1 << bit]) + content[offset + 1 :])
            with pytest.raises(WeightsError, match="weights file"):
                NetworkEvaluator.load(path, None, 1, "openvino")


def test_a_start_from_the_cache_does_not_import_torch(cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = tmp_path / "net.safetensors"
    config = replace(PRESETS["tiny"], layers=1)
    save_weights(path, network_of(config), config, {})
    code = f"""
import sys
from pathlib import Path
from dejavu.model.inference import NetworkEvaluator
print(NetworkEvaluator.load(Path({str(path)!r}), None, 1).describe(), "torch" in sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CUDA_VISIBLE_DEVICES": ""}
    said = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert said[0].endswith("True\n")
    assert said[1] == said[0].replace("True", "False")
    assert len(list(cache.iterdir())) == 1
