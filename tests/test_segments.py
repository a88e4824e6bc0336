"""Several memories asked together: the nearer entry wins, then the later memory; a bad one is left out."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import chess
import numpy as np
import pytest
from memories import small_memory

from dejavu.engine.loader import Loader, Wanted, load_network, wanted
from dejavu.engine.options import Config
from dejavu.model.chess.encoding import move_to_index, pack, stack
from dejavu.model.config import MEMORY_REACH
from dejavu.model.inference import NetworkEvaluator
from dejavu.retrieval.memory import Memory, MemoryFileError, encode_names
from dejavu.retrieval.moves import NO_MOVE
from dejavu.retrieval.segments import Segments

ODD = chess.Board("r1bqkbnr/1ppp1ppp/p1n5/4p3/P3P2P/2N5/1PPP1PP1/R1BQKBNR b KQkq - 0 4")


@pytest.fixture(scope="module")
def shipped() -> NetworkEvaluator:
    files = wanted(Config())
    return NetworkEvaluator.load(files.weights, files.memory, threads=1, backend="torch")


def segment(evaluator: NetworkEvaluator, board: chess.Board, move: str, game: str, projection: float = 1.0) -> Memory:
    """A memory of one position, with keys `projection` times as large as those of the shipped one."""
    first = evaluator.memories[0]
    planes, clocks = stack([pack(board)]), np.zeros(1, np.uint8)
    names, offsets = encode_names([game])
    continuations = np.full((1, 8), NO_MOVE, np.uint16)
    continuations[0, 0] = move_to_index(board.parse_uci(move), board)
    memory = replace(
        first,
        key_projection=(first.key_projection * projection).astype(np.float32),
        boards=planes,
        clocks=clocks,
        continuations=continuations,
        wdl=np.array([[255, 0, 0]], np.uint8),
        game=np.zeros(1, np.int32),
        cluster=np.zeros(1, np.uint16),
        game_names=names,
        game_offsets=offsets,
        added=(),
    )
    return replace(memory, keys=memory.project(evaluator.embeddings(planes, clocks)).astype(np.int8))


def first_neighbours(evaluator: NetworkEvaluator, board: chess.Board) -> list[tuple[str, float]]:
    found = evaluator.neighbours(stack([pack(board)]), np.zeros(1, np.uint8))
    return [(item.game, item.distance) for item in found]


def test_entries_of_all_segments_have_numbers_end_to_end() -> None:
    memories = [small_memory(60, seed=1), small_memory(20, seed=2), small_memory(45, seed=3)]
    together = Segments(memories)
    assert len(together) == 125
    entries = np.array([[0, 59, 60], [79, 80, 124]])
    where = [(0, 0), (0, 59), (1, 0), (1, 19), (2, 0), (2, 44)]
    for name in ("boards", "clocks", "continuations", "wdl"):
        expected = np.array([getattr(memories[part], name)[row] for part, row in where])
        assert np.array_equal(getattr(together, name)[entries].reshape(expected.shape), expected)
    named = [together.game_name(int(together.game[entry])) for entry in entries.ravel()]
    assert named == [memories[part].game_name(int(memories[part].game[row])) for part, row in where]


def test_the_nearest_of_all_memories_come_first_and_of_equals_the_later(shipped: NetworkEvaluator) -> None:
    other = ODD.copy()
    other.push_uci("g8f6")
    one, two = segment(shipped, ODD, "g8f6", "one"), segment(shipped, ODD, "d7d6", "two")
    away = segment(shipped, other, "d2d3", "away")
    try:
        shipped.put_beside([one, away])
        assert first_neighbours(shipped, ODD)[0] == ("one", 0.0)
        assert first_neighbours(shipped, other)[0] == ("away", 0.0)
        shipped.put_beside([one, two])
        names = [name for name, _ in first_neighbours(shipped, ODD)]
        assert names[0] == "two"
        assert "one" not in names  # of one position only what was said last
        assert shipped.similar(ODD, 0, 1)[0].game == "one"
    finally:
        shipped.put_beside([])
    assert first_neighbours(shipped, ODD)[0][0] not in ("one", "two")


def test_a_memory_of_its_own_projection_is_asked_in_its_own_keys(shipped: NetworkEvaluator) -> None:
    half = segment(shipped, ODD, "g8f6", "half", projection=0.5)
    try:
        shipped.put_beside([half])
        assert first_neighbours(shipped, ODD)[0] == ("half", 0.0)
    finally:
        shipped.put_beside([])


def test_what_is_remembered_beside_changes_what_is_played(shipped: NetworkEvaluator) -> None:
    planes, clocks = stack([pack(ODD)]), np.zeros(1, np.uint8)
    alone = shipped.evaluate(planes, clocks)
    index = move_to_index(ODD.parse_uci("h7h5"), ODD)
    place = alone.moves.tolist().index(index)
    try:
        shipped.put_beside([segment(shipped, ODD, "h7h5", "taught")])
        taught = shipped.evaluate(planes, clocks)
    finally:
        shipped.put_beside([])
    assert taught.logits[place] - taught.logits.max() > alone.logits[place] - alone.logits.max()
    assert np.array_equal(shipped.evaluate(planes, clocks).logits, alone.logits)


def test_memory_file_is_a_list_of_files(shipped: NetworkEvaluator, tmp_path: Path) -> None:
    mine, bad = tmp_path / "mine.safetensors", tmp_path / "bad.safetensors"
    segment(shipped, ODD, "h7h5", "mine").write(mine)
    bad.write_bytes(b"nothing of the kind")
    said: list[str] = []
    loader = Loader(load_network, said.append)
    config = Config(threads=1, backend="torch", memory_file=os.pathsep.join(["<shipped>", str(bad), str(mine)]))
    assert loader.load(config)
    assert len(said) == 1
    assert str(bad) in said[0]
    assert said[0].endswith("the others play on")
    assert isinstance(loader.evaluator, NetworkEvaluator)
    assert first_neighbours(loader.evaluator, ODD)[0] == ("mine", 0.0)
    # A memory that was good and is bad now plays on as it was.
    mine.write_bytes(b"cut short")
    assert loader.load(config, look_again=True)
    assert isinstance(loader.evaluator, NetworkEvaluator)
    assert "its last good state stays" in "".join(said)
    assert first_neighbours(loader.evaluator, ODD)[0] == ("mine", 0.0)


def test_a_file_whose_name_looks_like_a_list_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / f"a{os.pathsep}b"
    if os.name == "nt":
        pytest.skip("a path has a colon there")
    path.write_bytes(b"")
    assert wanted(Config(memory_file=str(path))).memory == path
    assert wanted(Config(memory_file="a:b")).beside == (Path("b"),)


def test_a_memory_of_another_network_is_refused_in_one_sentence(shipped: NetworkEvaluator, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    small_memory().write(path)
    said: list[str] = []
    loader = Loader(load_network, said.append)
    loader.load(Config(threads=1, backend="torch", memory_file=os.pathsep.join(["<shipped>", str(path)])))
    assert len(said) == 1
    assert "was built for other weights" in said[0]
    assert "scripts/build_memory.py --memory" in said[0]
    with pytest.raises(MemoryFileError):
        shipped.put_beside([small_memory()])
    shipped.put_beside([])


def test_only_positions_whose_pawns_are_remembered_are_searched_for(shipped: NetworkEvaluator) -> None:
    [memory] = shipped.memories
    entries = memory.boards[:: len(memory) // 500]
    odd = pack(chess.Board("4k3/pppppppp/8/8/7P/P5P1/1P1P4/4K3 w - - 0 1"))
    planes = np.concatenate([entries, stack([odd])])
    assert shipped.retriever is not None
    expected = [True] * len(entries) + [False]
    assert shipped.retriever.may_know(planes, MEMORY_REACH).tolist() == expected
    assert shipped.retriever.may_know(planes, MEMORY_REACH + 1).all()  # a wider reach is taken at its word
    try:
        shipped.put_beside([segment(shipped, ODD, "h7h5", "taught")])
        beside = np.concatenate([planes, stack([pack(ODD)])])
        assert shipped.retriever.may_know(beside, MEMORY_REACH).tolist() == [*expected, True]
    finally:
        shipped.put_beside([])


def test_back_from_a_bad_memory_beside_the_first_nothing_is_lost(shipped: NetworkEvaluator, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"nothing of the kind")
    said: list[str] = []
    loads: list[Wanted] = []

    def load(files: Wanted) -> NetworkEvaluator:
        loads.append(files)
        return shipped

    loader = Loader(load, said.append)
    alone = Config(threads=1, backend="torch")
    both = replace(alone, memory_file=os.pathsep.join(["<shipped>", str(path)]))
    try:
        for config, memories, sentences in ((alone, 1, 0), (both, 1, 1), (alone, 1, 1)):
            loader.load(config)
            assert (len(shipped.memories), len(said)) == (memories, sentences)
        segment(shipped, ODD, "h7h5", "mine").write(path)
        loader.load(both)
        assert (len(shipped.memories), len(said)) == (2, 1)
        assert first_neighbours(shipped, ODD)[0] == ("mine", 0.0)
        loader.load(alone)
        assert (len(shipped.memories), len(said)) == (1, 1)
    finally:
        shipped.put_beside([])
