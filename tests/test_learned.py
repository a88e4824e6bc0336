"""The file of learned positions: what a kill costs, who replaces whom, engines that learn at the same time."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from memories import small_memory
from numpy.typing import NDArray

from dejavu.retrieval import lock
from dejavu.retrieval.atomic import WriteError
from dejavu.retrieval.learned import LearnedMemory
from dejavu.retrieval.learned_records import HEADER_BYTES, TAUGHT, TAUGHT_NODES, LearnedFileError, Lesson, Space
from dejavu.retrieval.memory import Memory
from dejavu.retrieval.names import GameName

BASE = small_memory(60)
SIZE = Space.of(BASE).record().itemsize


def embed(planes: NDArray[np.uint64], clocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embeddings [B, 2, 6] that depend on the position alone."""
    rows = [np.random.default_rng(row.tolist()).normal(size=(2, 6)) for row in planes]
    return np.array(rows, np.float32).reshape(-1, 2, 6)


def board(number: int) -> bytes:
    return np.array([number, 1, 2, 3], "<u8").tobytes()


def lesson(number: int, move: int = 7, nodes: int = 500, name: str = "Dejavu's game", **more: object) -> Lesson:
    return Lesson(board(number), 0, [move], (0.5, 0.3, 0.2), nodes, name)._replace(**more)  # type: ignore[arg-type]


def reopened(path: Path, limit: int = 1000) -> LearnedMemory:
    learned = LearnedMemory(path, limit)
    learned.refresh()
    return learned


def moves(learned: LearnedMemory) -> dict[int, int]:
    return {int(row["boards"][0]): int(row["continuations"][0]) for row in learned.records}


def test_what_was_learned_is_there_after_a_restart_and_finds_itself(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "learned.dejavu"
    learned = LearnedMemory(path)
    assert not learned.refresh()
    assert learned.put([lesson(1, 11), lesson(2, 12, result="0-1")], BASE, embed) == 2
    for each in (learned, reopened(path)):
        memory = each.memory(BASE)
        assert memory is not None
        assert moves(each) == {1: 11, 2: 12}
        planes = np.array([[2, 1, 2, 3]], np.uint64)
        assert np.array_equal(memory.keys[1], BASE.project(embed(planes, np.zeros(1, np.uint8)))[0])
        assert GameName.parse(memory.game_name(int(memory.game[1]))).result == "0-1"
        memory.write(tmp_path / "whole.safetensors")  # which checks that all of it fits together


def test_deeper_replaces_shallower_and_never_the_other_way_and_a_person_knows_best(tmp_path: Path) -> None:
    learned = LearnedMemory(tmp_path / "learned.dejavu")
    learned.put([lesson(1, 11, nodes=500)], BASE, embed)
    assert learned.put([lesson(1, 12, nodes=499)], BASE, embed) == 0
    assert learned.put([lesson(1, 13, nodes=500)], BASE, embed) == 1
    assert moves(learned) == {1: 13}
    learned.put([lesson(1, 14, nodes=TAUGHT_NODES, kind=TAUGHT)], BASE, embed)
    assert learned.put([lesson(1, 15, nodes=10**9)], BASE, embed) == 0
    assert moves(reopened(learned.path)) == {1: 14}


def test_of_lessons_that_are_written_together_the_deepest_holds_and_of_equal_ones_the_last(tmp_path: Path) -> None:
    learned = LearnedMemory(tmp_path / "learned.dejavu")
    taught = lesson(1, 11, nodes=TAUGHT_NODES, kind=TAUGHT)
    assert learned.put([taught, lesson(1, 12), lesson(2, 21, nodes=900), lesson(2, 22, nodes=200)], BASE, embed) == 2
    assert moves(reopened(learned.path)) == {1: 11, 2: 21}
    learned.put([lesson(2, 23, nodes=900), lesson(2, 24, nodes=900), lesson(3, 31), lesson(3, 32)], BASE, embed)
    assert moves(reopened(learned.path)) == {1: 11, 2: 24, 3: 32}


def test_what_is_forgotten_stays_forgotten_until_it_is_learned_again(tmp_path: Path) -> None:
    learned = LearnedMemory(tmp_path / "learned.dejavu")
    learned.put([lesson(1), lesson(2)], BASE, embed)
    assert learned.forget([board(1), board(3), board(1)]) == 1
    assert learned.forget([board(1)]) == 0
    assert moves(reopened(learned.path)) == {2: 7}
    learned.put([lesson(1, 9, nodes=1)], BASE, embed)
    assert moves(reopened(learned.path)) == {2: 7, 1: 9}


def test_a_file_that_is_cut_at_any_byte_opens_and_lacks_only_its_last_records(tmp_path: Path) -> None:
    learned = LearnedMemory(tmp_path / "learned.dejavu")
    for number in range(4):
        learned.put([lesson(number)], BASE, embed)
    whole = learned.path.read_bytes()
    assert len(whole) == HEADER_BYTES + 4 * SIZE
    cut = tmp_path / "cut.dejavu"
    for size in range(HEADER_BYTES + SIZE, len(whole) + 1):
        cut.write_bytes(whole[:size])
        again = reopened(cut)
        assert sorted(moves(again)) == list(range((size - HEADER_BYTES) // SIZE))
        if size % 17 == 0:  # and goes on
            again.put([lesson(9)], BASE, embed)
            assert sorted(moves(reopened(cut)))[-1] == 9
            assert reopened(cut).damaged == 0


def test_a_record_that_the_disk_has_spoilt_is_passed_over_and_repair_removes_it(tmp_path: Path) -> None:
    learned = LearnedMemory(tmp_path / "learned.dejavu")
    learned.put([lesson(number) for number in range(3)], BASE, embed)
    data = bytearray(learned.path.read_bytes())
    data[HEADER_BYTES + SIZE + 5] ^= 1
    learned.path.write_bytes(data)
    again = reopened(learned.path)
    assert (sorted(moves(again)), again.damaged) == ([0, 2], 1)
    assert again.repair() == 1
    assert (sorted(moves(reopened(learned.path))), reopened(learned.path).damaged) == ([0, 2], 0)


@pytest.mark.parametrize("data", [b"", b"something else", b"x" * 1000])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "learned.dejavu"
    path.write_bytes(data)
    with pytest.raises(LearnedFileError, match=r"learned\.dejavu is not a file of learned positions"):
        LearnedMemory(path).refresh()
    with pytest.raises(LearnedFileError):
        LearnedMemory(path).put([lesson(1)], BASE, embed)
    assert path.read_bytes() == data


def test_a_full_file_loses_what_the_fewest_nodes_stand_behind_then_the_oldest(tmp_path: Path) -> None:
    learned = LearnedMemory(tmp_path / "learned.dejavu", limit=3)
    learned.put([lesson(1, nodes=300), lesson(2, nodes=200), lesson(3, nodes=200)], BASE, embed)
    learned.put([lesson(4, nodes=250)], BASE, embed)
    assert sorted(moves(learned)) == [1, 3, 4]
    assert sorted(moves(reopened(learned.path, limit=3))) == [1, 3, 4]


def test_a_file_does_not_grow_by_being_changed(tmp_path: Path) -> None:
    learned = LearnedMemory(tmp_path / "learned.dejavu")
    learned.put([lesson(number) for number in range(10)], BASE, embed)
    for move in range(40):
        learned.put([lesson(number, move) for number in range(10)], BASE, embed)
    assert learned.path.stat().st_size < HEADER_BYTES + 100 * SIZE
    assert moves(reopened(learned.path)) == dict.fromkeys(range(10), 39)


def test_what_is_taught_or_analysed_is_a_game_of_its_own_and_positions_of_a_game_are_one(tmp_path: Path) -> None:
    learned = LearnedMemory(tmp_path / "learned.dejavu")
    learned.put([lesson(number, name="Dejavu's analysis") for number in range(3)], BASE, embed)
    learned.put([lesson(number, nodes=TAUGHT_NODES, kind=TAUGHT) for number in (3, 4)], BASE, embed)
    learned.put([lesson(number, game=77) for number in (5, 6)] + [lesson(7, game=78)], BASE, embed)
    memory = reopened(learned.path).memory(BASE)
    assert memory is not None
    assert memory.game.tolist() == [0, 1, 2, 3, 4, 5, 5, 6]
    names = [memory.game_name(number).partition(", ") for number in memory.game.tolist()]
    assert [name[0] for name in names] == ["Dejavu's analysis"] * 3 + ["Dejavu's game"] * 5
    assert [name[2].split()[0] for name in names] == [*["learned"] * 3, *["taught"] * 2, *["learned"] * 3]


def test_two_engines_see_what_the_other_has_learned(tmp_path: Path) -> None:
    one, two = LearnedMemory(tmp_path / "learned.dejavu"), LearnedMemory(tmp_path / "learned.dejavu")
    for number in range(6):
        (one, two)[number % 2].put([lesson(number)], BASE, embed)
    assert one.refresh()
    assert sorted(moves(one)) == sorted(moves(two)) == list(range(6))


def test_another_network_makes_all_keys_anew_and_loses_nothing(tmp_path: Path) -> None:
    learned = LearnedMemory(tmp_path / "learned.dejavu")
    learned.put([lesson(number, number) for number in range(5)], BASE, embed)
    other = replace(small_memory(60, key_size=5, seed=4), fingerprint="11ff")
    again = reopened(learned.path)
    assert again.memory(other) is None
    assert again.put([lesson(7, 7)], other, embed) == 1  # before the keys are made

    def meanwhile(done: int, total: int) -> None:
        learned.put([lesson(8, 8)], BASE, embed)

    again.make_keys_anew(other, embed, meanwhile)
    memory = reopened(learned.path).memory(other)
    assert memory is not None
    assert moves(again) == {number: number for number in (0, 1, 2, 3, 4, 7, 8)}
    expected = other.project(embed(memory.boards, memory.clocks))
    assert np.array_equal(memory.keys, expected)


def test_keys_of_another_network_are_made_in_memory_and_the_file_stays(tmp_path: Path) -> None:
    learned = LearnedMemory(tmp_path / "learned.dejavu")
    learned.put([lesson(number, number) for number in range(5)], BASE, embed)
    before = learned.path.read_bytes()
    other = replace(small_memory(60, key_size=5, seed=4), fingerprint="11ff")
    again = reopened(learned.path)
    assert not again.has_keys_for(other)
    made: list[int] = []

    def counting(planes: NDArray[np.uint64], clocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        made.append(len(planes))
        return embed(planes, clocks)

    again.make_keys(other, counting)
    again.make_keys(other, counting)
    assert made == [5]
    assert again.has_keys_for(other)
    assert learned.path.read_bytes() == before
    # What is added from either side is asked by both, once its key is made; the keys that are there stay.
    assert again.put([lesson(7, 7)], other, embed) == 1
    learned.put([lesson(8, 8)], BASE, embed)
    again.refresh()
    for each, base, blank in ((again, other, 8), (learned, BASE, 7)):
        memory = each.memory(base)
        assert memory is not None
        assert blank not in memory.boards[:, 0]
        assert not each.has_keys_for(base)
        each.make_keys(base, counting)
        memory = each.memory(base)
        assert memory is not None
        assert sorted(memory.boards[:, 0].tolist()) == [0, 1, 2, 3, 4, 7, 8]
        assert np.array_equal(memory.keys, base.project(embed(memory.boards, memory.clocks)))
    assert made == [5, 1, 1]
    # Written for good, nothing lacks a key.
    learned.make_keys_anew(BASE, embed)
    assert reopened(learned.path).has_keys_for(BASE)


def test_a_file_in_which_all_is_forgotten_is_of_whoever_adds_to_it(tmp_path: Path) -> None:
    learned = LearnedMemory(tmp_path / "learned.dejavu")
    learned.put([lesson(1)], BASE, embed)
    learned.forget([board(1)])
    other = replace(small_memory(60, key_size=5, seed=4), fingerprint="11ff")
    learned.put([lesson(2)], other, embed)
    assert reopened(learned.path).has_keys_for(other)
    assert sorted(moves(reopened(learned.path))) == [2]


def flock_fails_by(monkeypatch: pytest.MonkeyPatch, code: int) -> list[int]:
    """Let no lock be had; -> a list that grows by each attempt."""
    attempts: list[int] = []

    def fail(descriptor: int) -> None:
        attempts.append(descriptor)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(lock, "_try_lock", fail)
    return attempts


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    attempts = flock_fails_by(monkeypatch, code)
    learned = LearnedMemory(tmp_path / "learned.dejavu")
    assert learned.put([lesson(1)], BASE, embed) == 1
    assert len(reopened(learned.path)) == 1
    assert len(attempts) == 1


def test_another_problem_with_the_lock_is_told_at_once_in_the_words_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = flock_fails_by(monkeypatch, errno.EIO)
    with pytest.raises(WriteError, match=os.strerror(errno.EIO)):
        LearnedMemory(tmp_path / "learned.dejavu").put([lesson(1)], BASE, embed)
    assert len(attempts) == 1


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EACCES])
def test_a_lock_that_another_engine_holds_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    attempts = flock_fails_by(monkeypatch, code)
    with pytest.raises(WriteError, match=r"another program has held learned\.dejavu\.lock for 0\.1 seconds"):
        LearnedMemory(tmp_path / "learned.dejavu").put([lesson(1)], BASE, embed, patience=0.1)
    assert len(attempts) > 1


def _learn(path: Path, first: int, count: int, base: Memory) -> None:
    learned = LearnedMemory(path)
    for number in range(first, first + count):
        learned.put([lesson(number % 1000, number % 4000, nodes=number)], base, embed)


def test_processes_that_learn_at_the_same_time_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "learned.dejavu"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_learn, args=(path, first, 20, BASE)) for first in (0, 100, 200)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    again = reopened(path)
    assert len(again) == 60
    assert again.damaged == 0


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_killed_engine_leaves_a_file_that_opens_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "learned.dejavu"
    context = multiprocessing.get_context("fork")
    known = 0

    def size() -> int:
        return path.stat().st_size if path.exists() else 0

    for number in range(8):
        worker = context.Process(target=_learn, args=(path, 2000 + number * 100_000, 100_000, BASE))
        before, deadline = size(), time.monotonic() + 60
        worker.start()
        while size() == before:
            assert worker.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(0.013 * number)  # each at another place
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join(20)
        again = reopened(path)
        assert len(again) >= known
        assert again.damaged == 0
        known = len(again)
        assert again.put([lesson(10_000 + number)], BASE, embed) == 1
    assert known > 8
