"""The memory file: what goes in comes out, and a damaged or foreign file is refused with one sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from memories import small_memory

from dejavu.retrieval import memory as memory_module
from dejavu.retrieval.memory import Memory, MemoryFileError, encode_names
from dejavu.retrieval.moves import POLICY_SIZE

MEMORY = small_memory()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("memory") / "memory.safetensors"
    MEMORY.write(path)
    return path


def assert_equal(found: Memory, expected: Memory) -> None:
    for field in fields(Memory):
        left, right = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(right, np.ndarray):
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right, err_msg=field.name)
        else:
            assert left == right


def refusal(path: Path, fingerprint: str | None = None) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(MemoryFileError) as error:
        Memory.open(path, fingerprint)
    sentence = str(error.value)
    assert str(path) in sentence
    assert "\n" not in sentence
    return sentence


def test_round_trip(path: Path) -> None:
    opened = Memory.open(path, MEMORY.fingerprint)
    assert_equal(opened, MEMORY)
    assert len(opened) == 60
    assert [opened.game_name(game) for game in range(3)] == ["Game 0", "Game 1", "Game 2"]
    Memory.verify(path)


@pytest.mark.parametrize("mapped", [True, False])
def test_tensors_are_read_only_and_those_of_a_large_file_views_of_it(
    path: Path, mapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_module, "VERIFY_AT_OPEN_BYTES", path.stat().st_size - mapped)
    opened = Memory.open(path)
    base: Any = opened.keys
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap) == mapped
    assert not opened.keys.flags.writeable


def test_a_copy_over_the_file_does_not_reach_an_opened_memory(path: Path, tmp_path: Path) -> None:
    overwritten = tmp_path / "memory"
    overwritten.write_bytes(path.read_bytes())
    opened = Memory.open(overwritten)
    with overwritten.open("r+b") as file:
        file.write(bytes(overwritten.stat().st_size))
    assert_equal(opened, MEMORY)


def test_is_a_safetensors_file(path: Path) -> None:
    tensors = safetensors.numpy.load_file(path)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, getattr(MEMORY, name), err_msg=name)
    assert {"keys", "boards", "continuations", "wdl", "game", "game_names"} <= set(tensors)


def test_the_same_memory_makes_the_same_bytes(path: Path, tmp_path: Path) -> None:
    Memory.open(path).write(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_an_entry_finds_its_own_key(path: Path) -> None:
    opened = Memory.open(path)
    embeddings = np.random.default_rng(1).normal(scale=3, size=(50, 2, 6)).astype(np.float32)
    queries = opened.project(embeddings)
    expected = np.stack([(embeddings[:, u] - opened.key_mean[u]) @ opened.key_projection[u] for u in range(2)], axis=1)
    assert np.abs(expected).max() > 127  # some are cut
    assert np.abs(queries - np.clip(expected, -127, 127)).max() <= 0.5
    np.testing.assert_array_equal(queries, queries.astype(np.int8))


def test_names_keep_letters_of_all_languages_and_stay_on_one_line() -> None:
    lines, offsets = encode_names(["Réti - Tartakower, Wien, 1910", "", "two\nlines"])
    memory = replace(MEMORY, game_names=lines, game_offsets=offsets)
    assert [memory.game_name(g) for g in range(3)] == ["Réti - Tartakower, Wien, 1910", "", "two lines"]


def test_other_weights_are_refused(path: Path) -> None:
    assert "other weights" in refusal(path, "1234567890abcdef")


def test_what_is_no_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert "cannot be read" in refusal(path)
    assert "cannot be read" in refusal(tmp_path) or os.name == "nt"
    for content in (b"", b"1234567", b"PK\x03\x04" * 100, (2).to_bytes(8, "little") + b"{}", b"\xff" * 64):
        path.write_bytes(content)
        refusal(path)
    safetensors.numpy.save_file({"keys": np.zeros(3)}, path)
    assert "no metadata" in refusal(path)
    safetensors.numpy.save_file({"keys": np.zeros(3)}, path, {"format": "dejavu-memory-0"})
    assert "format 'dejavu-memory-0'" in refusal(path)
    deep = b"[" * 100_000
    path.write_bytes(len(deep).to_bytes(8, "little") + deep)
    refusal(path)


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_a_truncated_file_is_refused(path: Path, data: st.DataObject) -> None:
    content = path.read_bytes()
    header_end = 8 + int.from_bytes(content[:8], "little")
    # The header is a small part of the file: aim at both.
    length = data.draw(st.integers(0, header_end) | st.integers(0, len(content) - 1))
    cut = path.with_name("cut")
    cut.write_bytes(content[:length])
    refusal(cut)


@settings(deadline=None, max_examples=400)
@given(data=st.data())
def test_flipped_bits_are_refused_or_harmless(path: Path, data: st.DataObject) -> None:
    content = bytearray(path.read_bytes())
    header_end = 8 + int.from_bytes(content[:8], "little")
    offset = st.integers(0, header_end - 1) | st.integers(0, len(content) - 1)
    for at, bit in data.draw(st.lists(st.tuples(offset, st.integers(0, 7)), min_size=1, max_size=3)):
        content[at] ^= 1 << bit
    flipped = path.with_name("flipped")
    flipped.write_bytes(content)
    try:
        opened = Memory.open(flipped, MEMORY.fingerprint)
    except MemoryFileError:
        refusal(flipped, MEMORY.fingerprint)
    else:
        assert_equal(opened, MEMORY)


def test_every_tensor_is_guarded(path: Path) -> None:
    content = path.read_bytes()
    offset = 8 + int.from_bytes(content[:8], "little")
    damaged = path.with_name("damaged")
    for name in safetensors.numpy.load_file(path):
        at = content.find(getattr(MEMORY, name).tobytes(), offset)
        assert at >= offset
        damaged.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert f"tensor {name!r} does not match its checksum" in refusal(damaged)


def test_a_large_file_leaves_bulk_sums_to_verify(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "VERIFY_AT_OPEN_BYTES", 0)
    content = bytearray(path.read_bytes())
    key = content.find(MEMORY.keys.tobytes())
    content[key] ^= 1
    damaged = path.with_name("damaged")
    damaged.write_bytes(content)
    assert Memory.open(damaged).keys[0, 0, 0] != MEMORY.keys[0, 0, 0]
    with pytest.raises(MemoryFileError, match="'keys' does not match its checksum"):
        Memory.verify(damaged)
    # What would be used as an index is looked at all the same.
    move = content.find(MEMORY.continuations.tobytes())
    content[move : move + 2] = (5000).to_bytes(2, "little")
    damaged.write_bytes(content)
    assert "move that does not exist" in refusal(damaged)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: {"game": m.game + 1}, "game that is not there"),
        (lambda m: {"game": m.game - 1}, "game that is not there"),
        (lambda m: {"cluster": np.full_like(m.cluster, len(m.centroids))}, "cluster that is not there"),
        (lambda m: {"continuations": np.full_like(m.continuations, POLICY_SIZE)}, "move that does not exist"),
        (lambda m: {"key_mean": m.key_mean * np.float32(np.nan)}, "not finite"),
        (lambda m: {"centroids": m.centroids + np.float32(np.inf)}, "not finite"),
        (lambda m: {"game_offsets": m.game_offsets + 1}, "do not lie end to end"),
        (lambda m: {"game_offsets": m.game_offsets[[0, 2, 1, 3]]}, "do not lie end to end"),
        (lambda m: {"boards": m.boards[:-1]}, "'boards' has shape|does not fit together"),
        (lambda m: {"centroids": np.ascontiguousarray(m.centroids[:, 1:])}, "as long as keys"),
        (lambda m: {"wdl": m.wdl[:, :2]}, "does not fit together"),
        (lambda m: {"keys": m.keys.astype(np.int16)}, "needs I8"),
        (lambda m: {"clocks": m.clocks[:, None]}, "needs U8"),
    ],
)
def test_tensors_that_do_not_fit_together_are_not_written(
    tmp_path: Path, change: Callable[[Memory], dict[str, Any]], sentence: str
) -> None:
    with pytest.raises(MemoryFileError, match=sentence):
        replace(MEMORY, **change(MEMORY)).write(tmp_path / "memory")
    assert not list(tmp_path.iterdir())


def test_an_empty_memory_is_refused(tmp_path: Path) -> None:
    per_entry = ["keys", "boards", "clocks", "continuations", "wdl", "game", "cluster"]
    empty = replace(MEMORY, **{name: getattr(MEMORY, name)[:0] for name in per_entry})
    with pytest.raises(MemoryFileError, match="is empty"):
        empty.write(tmp_path / "memory")


@pytest.mark.skipif(os.name == "nt", reason="Windows does not replace a mapped file")
def test_an_opened_memory_survives_its_file_being_replaced(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    MEMORY.write(path)
    opened = Memory.open(path)
    small_memory(seed=1).write(path)
    assert_equal(opened, MEMORY)
    assert_equal(Memory.open(path), small_memory(seed=1))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "memory"
    MEMORY.write(path)

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("dejavu.retrieval.atomic.os.fsync", fail)
    with pytest.raises(OSError, match="no space"):
        small_memory(seed=1).write(path)
    assert_equal(Memory.open(path), MEMORY)
    assert list(tmp_path.iterdir()) == [path]


def with_header(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a memory whose header is otherwise, and says so in its sum."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    change(header)
    metadata = {name: value for name, value in header["__metadata__"].items() if name != "metadata_crc32"}
    header["__metadata__"] = metadata | {"metadata_crc32": memory_module._metadata_sum(metadata)}
    text = json.dumps(header).encode()
    other = path.with_name("other")
    other.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])
    return other


@pytest.mark.parametrize("name", ["fingerprint", "sources", "command", "date"])
def test_a_memory_without_its_provenance_is_refused(path: Path, name: str) -> None:
    assert f"does not say its {name}" in refusal(with_header(path, lambda header: header["__metadata__"].pop(name)))


@pytest.mark.parametrize("shape", [[10**9, 8], [10**30, 8], [0, 10**30], [10**12, 0]])
def test_a_monstrous_shape_is_refused(path: Path, shape: list[int]) -> None:
    def change(header: dict[str, Any]) -> None:
        header["continuations"]["shape"] = shape
        if 0 in shape:
            header["continuations"]["data_offsets"] = [0, 0]

    assert "continuations" in refusal(with_header(path, change))


@pytest.mark.parametrize(
    "added",
    [
        "[" * 100_000,
        '[{"name": "x", "first_game": 0.5, "games": 1, "date": "2026-01-01"}]',
        '[{"name": 1, "first_game": 0, "games": 1, "date": "2026-01-01"}]',
        '[{"name": "x", "first_game": 0, "games": 1000000000, "date": "2026-01-01"}]',
    ],
    ids=["deep", "half a game", "no name", "monstrous"],
)
def test_a_list_of_added_games_that_cannot_be_is_refused(path: Path, added: str) -> None:
    other = with_header(path, lambda header: header["__metadata__"].update(added=added))
    assert "list of added games is malformed" in refusal(other)
