"""Evaluations computed beforehand: as good as computed, found for the right positions alone, never in the way."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from training import run_script

from dejavu.engine.loader import Loader, load_network, wanted
from dejavu.engine.options import Config
from dejavu.engine.search.evaluator import priors
from dejavu.model.backends.protocol import Backend
from dejavu.model.chess.encoding import REPEATED
from dejavu.model.inference import NetworkEvaluator
from dejavu.model.stored_evaluations import (
    CLOCK_REACH,
    evaluate_entries,
    file_beside,
    join,
    read_columns,
    write_columns,
)
from dejavu.retrieval.hashes import entry_hashes


@pytest.fixture(scope="module")
def folder(memory: Path, retrieval: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A memory, its weights and its evaluations."""
    folder = tmp_path_factory.mktemp("evaluated")
    shutil.copy(memory, folder / "memory.safetensors")
    shutil.copy(retrieval / "weights.safetensors", folder)
    done = evaluate(folder)
    assert done.startswith("wrote ")
    return folder


def evaluate(folder: Path) -> str:
    options = ["--memory", folder / "memory.safetensors", "--weights", folder / "weights.safetensors"]
    done = run_script("evaluate_memory.py", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def config(folder: Path) -> Config:
    return Config(
        weights_file=str(folder / "weights.safetensors"),
        memory_file=str(folder / "memory.safetensors"),
        backend="torch",
        threads=1,
    )


class Counting:
    """A backend that counts the positions it computes."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.positions = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._backend, name)

    def embed(self, inputs: object) -> object:
        self.positions += len(inputs.squares)  # type: ignore[attr-defined]
        return self._backend.embed(inputs)  # type: ignore[arg-type]


def network(folder: Path) -> tuple[NetworkEvaluator, Counting]:
    evaluator = load_network(wanted(config(folder)))
    assert isinstance(evaluator, NetworkEvaluator)
    counting = Counting(evaluator.backend)
    evaluator.backend = counting  # type: ignore[assignment]
    return evaluator, counting


def some(evaluator: NetworkEvaluator, count: int = 40) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Positions of the memory that are no repetitions."""
    memory = evaluator.memories[0]
    rows = np.flatnonzero(memory.clocks < REPEATED)[:count]
    return memory.boards[rows], memory.clocks[rows]


def test_remembered_positions_are_not_computed_and_evaluated_alike(folder: Path) -> None:
    evaluator, backend = network(folder)
    planes, clocks = some(evaluator)
    stored = evaluator.evaluate(planes, clocks)
    assert backend.positions == 0
    evaluator.stored = None
    computed = evaluator.evaluate(planes, clocks)
    assert backend.positions == len(planes)
    assert np.array_equal(stored.offsets, computed.offsets)
    assert np.array_equal(stored.moves, computed.moves)
    assert np.array_equal(stored.mating, computed.mating)
    assert stored.wdl == pytest.approx(computed.wdl, abs=2e-3)
    for start, end in zip(stored.offsets[:-1], stored.offsets[1:], strict=True):
        one, two = (np.exp(e.logits[start:end] - e.logits[start:end].max()) for e in (stored, computed))
        assert one / one.sum() == pytest.approx(two / two.sum(), abs=0.02)


def test_among_others_every_position_gets_its_own_evaluation(folder: Path) -> None:
    evaluator, backend = network(folder)
    planes, clocks = some(evaluator)
    clocks = clocks.copy()
    clocks[::3] |= REPEATED  # which no entry stands for
    mixed = evaluator.evaluate(planes, clocks)
    assert backend.positions == len(clocks[::3])
    evaluator.stored = None
    computed = evaluator.evaluate(planes, clocks)
    assert mixed.wdl == pytest.approx(computed.wdl, abs=1e-2)
    assert mixed.wdl[::3] == pytest.approx(computed.wdl[::3], abs=2e-3)
    assert priors(mixed, 1.0)[1] == pytest.approx(priors(computed, 1.0)[1], abs=0.02)


def test_neither_a_far_clock_nor_another_reach_nor_without_memory(folder: Path) -> None:
    evaluator, backend = network(folder)
    planes, clocks = some(evaluator)
    young = clocks < 50
    planes, clocks = planes[young], clocks[young]
    evaluator.evaluate(planes, clocks + np.uint8(CLOCK_REACH))
    assert backend.positions == 0
    evaluator.evaluate(planes, clocks + np.uint8(CLOCK_REACH + 1))
    evaluator.evaluate(planes, clocks, memory=False)
    evaluator.memory_reach /= 2
    evaluator.evaluate(planes, clocks)
    assert backend.positions == 3 * len(planes)


def test_what_a_later_memory_knows_is_asked_of_it(folder: Path) -> None:
    evaluator, backend = network(folder)
    first = evaluator.memories[0]
    planes, clocks = some(evaluator)
    rows = np.flatnonzero(first.clocks < REPEATED)[:1]
    arrays = {name: getattr(first, name)[rows] for name in first.ENTRY_ARRAYS}
    evaluator.put_beside([replace(first, **arrays)])
    evaluator.evaluate(planes, clocks)
    assert backend.positions == 1
    evaluator.put_beside([])
    evaluator.evaluate(planes, clocks)
    assert backend.positions == 1


def test_an_entry_that_has_changed_is_computed(folder: Path, tmp_path: Path) -> None:
    evaluator, _ = network(folder)
    memory = evaluator.memories[0]
    wdl = memory.wdl.copy()
    wdl[0] = 255 - wdl[0]
    replace(memory, wdl=wdl).write(tmp_path / "memory.safetensors")
    shutil.copy(folder / "weights.safetensors", tmp_path)
    shutil.copy(file_beside(folder / "memory.safetensors"), tmp_path)
    changed, backend = network(tmp_path)
    changed.evaluate(memory.boards[:5], memory.clocks[:5] & np.uint8(REPEATED - 1))
    assert backend.positions == 1
    assert changed.stored is not None
    before = len(changed.stored)
    evaluate(tmp_path)
    again, _ = network(tmp_path)
    assert again.stored is not None
    assert len(again.stored) == before + (memory.clocks[0] < REPEATED)


def test_evaluated_in_parts_and_after_a_stop_the_file_is_the_same(folder: Path) -> None:
    evaluator, _ = network(folder)
    memory = evaluator.memories[0]
    evaluator.stored = None
    whole = join(list(evaluate_entries(memory, evaluator.evaluate, None, len(memory))))
    assert np.array_equal(whole.entries, np.unique(entry_hashes(memory)))
    at_once = len(memory) // 5
    parts = list(evaluate_entries(memory, evaluator.evaluate, None, at_once))
    assert [len(part.entries) for part in parts[:4]] == [0, at_once, at_once, at_once]
    rest = evaluate_entries(memory, evaluator.evaluate, join(parts[:3]), at_once)
    for columns in (join(parts), join(list(rest))):
        assert np.array_equal(columns.entries, whole.entries)
        assert np.array_equal(columns.moves, whole.moves)
        assert columns.chances == pytest.approx(whole.chances, abs=65535 * 2e-3)
        assert columns.policy.astype(int) == pytest.approx(whole.policy.astype(int), abs=2)


def test_a_bad_file_costs_a_sentence_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    for name in ("memory.safetensors", "weights.safetensors"):
        shutil.copy(folder / name, tmp_path)
    path = file_beside(tmp_path / "memory.safetensors")
    whole = file_beside(folder / "memory.safetensors").read_bytes()
    columns = read_columns(file_beside(folder / "memory.safetensors"), network(folder)[0].weights.checksum)
    array = io.BytesIO()
    np.save(array, np.arange(3))
    bad = b"", b"PK\x03\x04 no zip", whole[: len(whole) // 2], _flipped(whole), array.getvalue()
    for number, content in enumerate(bad):
        path.write_bytes(content)
        said: list[str] = []
        loader = Loader(load_network, said.append)
        loader.load(config(tmp_path))
        assert loader.has_network
        assert loader.has_memory
        assert len(said) == 1, number
        assert str(path) in said[0]
        assert "not used" in said[0]
    write_columns(path, "another", columns)
    said = []
    Loader(load_network, said.append).load(config(tmp_path))
    assert said == [f"{path} is of other weights; it is not used"]


def _flipped(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    return bytes(changed)


def test_a_file_that_is_made_while_the_engine_runs_is_used_from_the_next_look(folder: Path, tmp_path: Path) -> None:
    for name in ("memory.safetensors", "weights.safetensors"):
        shutil.copy(folder / name, tmp_path)
    said: list[str] = []
    loader = Loader(load_network, said.append)
    loader.load(config(tmp_path))
    assert isinstance(loader.evaluator, NetworkEvaluator)
    assert loader.evaluator.stored is None
    shutil.copy(file_beside(folder / "memory.safetensors"), tmp_path)
    assert loader.load(config(tmp_path), look_again=True)
    assert isinstance(loader.evaluator, NetworkEvaluator)
    assert loader.evaluator.stored is not None
