"""Building a memory: what is kept, what the keys mean, and that a killed build ends like any other."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dejavu.retrieval import build as build_module
from dejavu.retrieval.build import Build, BuildError, BuildOptions, BuildReport, _Made, build_memory, embed_anew
from dejavu.retrieval.knn import position_index
from dejavu.retrieval.memory import Memory, Provenance, Source
from dejavu.retrieval.moves import NO_MOVE
from dejavu.retrieval.positions import Positions, merge_equal

ROOT = Path(__file__).resolve().parent.parent
PROVENANCE = Provenance("games.pgn", "build_memory.py", "2026-01-01")
CHUNKS, SIZE = 2, 12


def embed(planes: NDArray[np.uint64], clocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A backbone's stand-in: a smooth function of the bits, of rank 4 in every chunk."""
    bits = np.unpackbits(planes.view(np.uint8), axis=1).astype(np.float32)
    weights = np.random.default_rng(0).normal(size=(256, CHUNKS, 4)).astype(np.float32)
    mix = np.random.default_rng(1).normal(size=(CHUNKS, 4, SIZE)).astype(np.float32)
    low_rank: NDArray[np.float32] = np.einsum("bi,ilr,lrd->bld", bits, weights, mix, optimize=True)
    return low_rank + np.float32(5)


def some_positions(count: int, seed: int = 0) -> Positions:
    generator = np.random.default_rng(seed)
    continuations = generator.integers(0, 4168, (count, 8), dtype=np.uint16)
    continuations[:, 3:] = NO_MOVE
    wdl = generator.dirichlet([1, 1, 1], count).astype(np.float32)
    return Positions(
        planes=generator.integers(0, 2**64, (count, 4), dtype=np.uint64),
        clocks=generator.integers(0, 101, count).astype(np.uint8),
        continuations=continuations,
        wdl=wdl,
        game=np.sort(generator.integers(0, 10, count)).astype(np.int32),
    )


def build(
    folder: Path,
    positions: list[Positions],
    options: BuildOptions | None = None,
    embed: Callable[[NDArray[np.uint64], NDArray[np.uint8]], NDArray[np.float32]] = embed,
    provenance: Provenance = PROVENANCE,
) -> tuple[Memory, BuildReport]:
    how = Build(
        embed,
        "00ff",
        provenance,
        folder / "memory",
        folder / "work",
        options or BuildOptions(key_size=8),
        lambda stage, done, total: None,
    )
    report = build_memory(positions, "game number {}".format, how)
    return Memory.open(folder / "memory", "00ff"), report


def test_everything_arrives(tmp_path: Path) -> None:
    positions = some_positions(700)
    first, rest = np.arange(300), np.arange(300, 700)
    memory, report = build(tmp_path, [positions.take(first), positions.take(rest)])
    assert (report.entries, report.duplicates) == (700, 0)
    assert report.bytes_an_entry == (tmp_path / "memory").stat().st_size / 700
    np.testing.assert_array_equal(memory.boards, positions.planes)
    np.testing.assert_array_equal(memory.clocks, positions.clocks)
    np.testing.assert_array_equal(memory.continuations, positions.continuations)
    np.testing.assert_array_equal(memory.game, positions.game)
    np.testing.assert_allclose(memory.wdl / 255, positions.wdl, atol=0.5 / 255)
    assert memory.game_name(int(positions.game[-1])) == f"game number {positions.game[-1]}"
    assert memory.provenance == PROVENANCE
    queries = memory.project(embed(positions.planes, positions.clocks))
    np.testing.assert_array_equal(queries, memory.keys)
    found = position_index(memory).search(queries.reshape(700, -1), 1)
    assert not found[0].any()
    assert not (tmp_path / "work").exists()


def test_another_backbone_takes_over_all_that_a_memory_holds(tmp_path: Path) -> None:
    old, _ = build(tmp_path, [some_positions(700)])
    old = replace(old, added=(Source("mine.pgn", 0, 2, "2026-01-02"),))

    def other(planes: NDArray[np.uint64], clocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        return embed(planes, clocks)[:, ::-1] ** 2

    provenance = replace(PROVENANCE, command="anew")
    work, out, options = tmp_path / "work", tmp_path / "memory", BuildOptions(key_size=8)
    how = Build(other, "11ee", provenance, out, work, options, lambda stage, done, total: None)
    report = embed_anew(old, how)
    new = Memory.open(out, "11ee")
    assert report.entries == len(new) == 700
    for name in {field.name for field in fields(Memory)} - {"fingerprint", "provenance", *_Made._fields}:
        np.testing.assert_array_equal(getattr(new, name), getattr(old, name))
    assert new.provenance == provenance
    np.testing.assert_array_equal(new.project(other(new.boards, new.clocks)), new.keys)
    assert not work.exists()
    nothing = replace(old, **{name: getattr(old, name)[:0] for name in Memory.ENTRY_ARRAYS})
    with pytest.raises(BuildError, match="no positions"):
        embed_anew(nothing, how)


def test_distances_between_keys_are_those_between_embeddings(tmp_path: Path) -> None:
    positions = some_positions(400)
    memory, _ = build(tmp_path, [positions])
    embeddings = embed(positions.planes, positions.clocks).reshape(400, -1)
    keys = memory.position_keys.astype(float)
    rows = np.random.default_rng(0).integers(0, 400, (2, 500))
    between_embeddings = np.linalg.norm(embeddings[rows[0]] - embeddings[rows[1]], axis=1)
    between_keys = np.linalg.norm(keys[rows[0]] - keys[rows[1]], axis=1)
    different = between_embeddings > 0
    ratio = between_keys[different] / between_embeddings[different]
    assert ratio.std() / ratio.mean() < 0.02
    # Four numbers a chunk hold all there is, and one in a thousand may be cut.
    assert 0 < (np.abs(memory.keys) == 127).mean() < 0.004


def test_equal_positions_are_kept_once_with_the_move_of_most_of_them() -> None:
    positions = some_positions(10)
    planes, continuations, wdl = positions.planes, positions.continuations, positions.wdl
    planes[[5, 6, 7, 8]] = planes[2]
    continuations[[2, 5, 6, 7, 8], 0] = [11, 11, 12, 11, NO_MOVE]
    continuations[5, 3:6] = 17  # twice as long as the others
    positions.game[:] = [0, 0, 1, 1, 2, 2, 3, 4, 4, 4]
    merged, games = merge_equal(positions)
    np.testing.assert_array_equal(merged.planes, planes[[0, 1, 3, 4, 5, 9]])
    np.testing.assert_array_equal(merged.continuations[4], continuations[5])
    assert games.tolist() == [1, 1, 1, 1, 4, 1]  # two of the five are of one game
    np.testing.assert_allclose(merged.wdl[4], wdl[[2, 5, 6, 7, 8]].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(merged.wdl[3], wdl[4])


def test_what_nobody_has_evaluated_is_no_opinion() -> None:
    positions = some_positions(5)
    positions.planes[1:3] = positions.planes[0]
    positions.planes[4] = positions.planes[3]
    positions.wdl[[1, 3, 4]] = 1 / 3
    merged, _ = merge_equal(positions)
    order = np.argsort((merged.planes == positions.planes[3]).all(axis=1))
    np.testing.assert_allclose(merged.wdl[order[0]], positions.wdl[[0, 2]].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(merged.wdl[order[1]], np.full(3, 1 / 3, np.float32))


def test_of_two_moves_as_often_best_the_one_named_last_stays() -> None:
    positions = some_positions(3)
    positions.planes[:] = positions.planes[0]
    positions.continuations[:, 0] = [11, 12, NO_MOVE]
    merged, _ = merge_equal(positions)
    np.testing.assert_array_equal(merged.continuations, positions.continuations[[1]])


def test_a_limited_memory_keeps_what_most_games_met(tmp_path: Path) -> None:
    positions = some_positions(400)
    positions.planes[200:300] = positions.planes[100:200]
    positions.planes[300:350] = positions.planes[100:150]
    positions.game[:] = np.arange(400)
    memory, report = build(tmp_path, [positions], BuildOptions(entries=120, key_size=8))
    assert (report.entries, report.duplicates) == (120, 150)
    stored = {planes.tobytes() for planes in memory.boards}
    assert all(planes.tobytes() in stored for planes in positions.planes[100:200])


def test_a_limited_number_of_entries_comes_from_all_games(tmp_path: Path) -> None:
    positions = some_positions(2000)
    memory, report = build(tmp_path, [positions], BuildOptions(entries=300, key_size=8))
    assert report.entries == len(memory) == 300
    assert len(np.unique(memory.game)) == 10
    assert len(np.unique(memory.boards, axis=0)) == 300
    index = {planes.tobytes(): row for row, planes in enumerate(positions.planes)}
    rows = [index[planes.tobytes()] for planes in memory.boards]
    assert rows == sorted(rows)
    np.testing.assert_array_equal(memory.game, positions.game[rows])


def test_unused_games_have_no_name_but_keep_their_number(tmp_path: Path) -> None:
    positions = some_positions(50)
    positions.game[:] = 3
    memory, _ = build(tmp_path, [positions])
    assert [memory.game_name(game) for game in range(4)] == ["", "", "", "game number 3"]
    assert (memory.game == 3).all()


def test_what_cannot_be_built_is_refused(tmp_path: Path) -> None:
    positions = some_positions(50)

    def constant(planes: NDArray[np.uint64], clocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.ones((len(planes), CHUNKS, SIZE), dtype=np.float32)

    def broken(planes: NDArray[np.uint64], clocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.full((len(planes), CHUNKS, SIZE), np.nan, dtype=np.float32)

    with pytest.raises(BuildError, match="no positions"):
        build(tmp_path / "a", [])
    with pytest.raises(BuildError, match="are equal"):
        build(tmp_path / "b", [positions], embed=constant)
    with pytest.raises(BuildError, match="not finite"):
        build(tmp_path / "c", [positions], embed=broken)
    for size in (1, 26):
        with pytest.raises(BuildError, match=f"keys of {size} numbers cannot be made"):
            build(tmp_path / f"d{size}", [positions], BuildOptions(key_size=size))


def test_a_work_folder_serves_one_build_only(tmp_path: Path) -> None:
    def interrupted(planes: NDArray[np.uint64], clocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise KeyboardInterrupt

    positions = some_positions(50)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, [positions], embed=interrupted)
    with pytest.raises(BuildError, match="belongs to another build"):
        build(tmp_path, [some_positions(50, seed=1)])
    with pytest.raises(BuildError, match="belongs to another build"):
        build(tmp_path, [positions], BuildOptions(key_size=8, seed=1))
    later = Provenance("games.pgn", "build_memory.py", "2026-01-02")
    memory, _ = build(tmp_path, [positions], provenance=later)
    assert memory.provenance == PROVENANCE  # of the day the build began
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "build.json").write_text("{")
    with pytest.raises(BuildError, match="is damaged"):
        build(tmp_path, [positions])


def test_files_of_others_in_the_work_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "notes.txt").write_text("keep me")
    build(tmp_path, [some_positions(50)])
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["notes.txt"]


def test_interrupted_anywhere_it_ends_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "_SHARD_ROWS", 128)
    positions = some_positions(600)
    calls = 0

    def interrupted(planes: NDArray[np.uint64], clocks: NDArray[np.uint8]) -> NDArray[np.float32]:
        nonlocal calls
        calls += 1
        if calls % 2 == 0:
            raise KeyboardInterrupt
        return embed(planes, clocks)

    starts = 0
    while not (tmp_path / "broken" / "memory").exists():
        starts += 1
        assert starts < 20, "a start did not get further than the one before"
        try:
            # The sample is one batch here, so that every start gets one batch further.
            build(tmp_path / "broken", [positions], BuildOptions(key_size=8, sample=256), embed=interrupted)
        except KeyboardInterrupt:
            continue
    assert starts > 4
    build(tmp_path / "whole", [positions], BuildOptions(key_size=8, sample=256))
    assert (tmp_path / "broken" / "memory").read_bytes() == (tmp_path / "whole" / "memory").read_bytes()


KILLED_BUILD = """
import sys, time
from pathlib import Path
import test_build_memory as tests
from dejavu.retrieval import build

build._SHARD_ROWS = 64
delay = float(sys.argv[2])

def slow(planes, clocks):
    time.sleep(delay)
    return tests.embed(planes, clocks)

tests.build(Path(sys.argv[1]), [tests.some_positions(1000)], embed=slow)
"""


def test_killed_and_started_again_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    def start(folder: Path, delay: float) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", KILLED_BUILD, str(folder), str(delay)]
        return subprocess.Popen(command, cwd=Path(__file__).parent)

    process = start(tmp_path / "killed", 0.1)
    work = tmp_path / "killed" / "work"
    deadline = time.monotonic() + 120
    while len(list(work.glob("keys-*.npy"))) < 3:
        assert process.poll() is None, "the build ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = {path.name: path.stat().st_mtime_ns for path in work.glob("keys-*.npy")}
    assert 3 <= len(done) < 16
    assert not (tmp_path / "killed" / "memory").exists()

    changed = False
    second = start(tmp_path / "killed", 0.01)
    whole = start(tmp_path / "whole", 0)
    while second.poll() is None:
        for name, modified in done.items():
            path = work / name
            try:
                changed |= path.stat().st_mtime_ns != modified
            except FileNotFoundError:  # the build is over
                break
    assert (second.wait(), whole.wait()) == (0, 0)
    assert not changed  # finished shards were not made again
    assert (tmp_path / "killed" / "memory").read_bytes() == (tmp_path / "whole" / "memory").read_bytes()
