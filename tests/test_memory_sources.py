"""A memory from what people have: a data set, games, or an earlier memory, by the script and by what it calls."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import build_memory
import chess
import numpy as np
import pytest
import teach
import torch
from memories import small_memory

from dejavu.model.chess.encoding import clock_byte, index_to_move, move_to_index, pack, stack, unpack
from dejavu.model.config import PRESETS
from dejavu.model.data import memory_run
from dejavu.model.data.dataset import MEMORY, TRAIN, Dataset
from dejavu.model.data.memory_run import MemoryRun, make_memory
from dejavu.model.data.records import continuations
from dejavu.model.inference import Embedder, load_backbone
from dejavu.model.network import Network
from dejavu.model.weights import save_weights
from dejavu.retrieval import memory as memory_module
from dejavu.retrieval.knn import ExactIndex
from dejavu.retrieval.memory import Memory, MemoryFileError, project
from dejavu.retrieval.moves import NO_MOVE

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Thirty random games; players found the best move four times in five; even games are for the memory."""
    chooser = random.Random(4)
    planes, clocks, best, played, game = [], [], [], [], []
    for number in range(30):
        board = chess.Board()
        for _ in range(chooser.randrange(20, 60)):
            moves = list(board.legal_moves)
            if not moves:
                break
            better, move = chooser.choice(moves), chooser.choice(moves)
            if chooser.random() < 0.8:
                move = better
            planes.append(pack(board))
            clocks.append(clock_byte(board.halfmove_clock, False))
            best.append(move_to_index(better, board))
            played.append(move_to_index(move, board))
            game.append(number)
            board.push(move)
    names = [f"White {number} - Black {number}, Test, 2026, Opening\n".encode() for number in range(30)]
    count = len(planes)
    return Dataset(
        planes=stack(planes),
        clocks=np.array(clocks, dtype=np.uint8),
        best=np.array(best, dtype=np.uint16),
        played=np.array(played, dtype=np.uint16),
        centipawns=np.random.default_rng(0).integers(-300, 300, count).astype(np.int16),
        result=np.zeros(count, dtype=np.int8),
        game=np.array(game, dtype=np.int32),
        split=np.array([MEMORY, TRAIN] * 15, dtype=np.uint8),
        source=np.zeros(30, dtype=np.uint8),
        names=np.frombuffer(b"".join(names), dtype=np.uint8),
        name_offsets=np.cumsum([0, *map(len, names)], dtype=np.int64),
        source_names=np.frombuffer(b"random.pgn\n", dtype=np.uint8),
    )


def test_continuations_follow_best_play_as_far_as_the_game_does(dataset: Dataset) -> None:
    rows = np.arange(len(dataset))
    plies = continuations(dataset, rows)
    lengths = set()
    for row in rows.tolist():
        expected = [int(dataset.best[row])]
        at = row
        while (
            len(expected) < 8
            and dataset.played[at] == dataset.best[at]
            and at + 1 < len(dataset)
            and dataset.game[at + 1] == dataset.game[at]
        ):
            at += 1
            expected.append(int(dataset.best[at]))
        lengths.add(len(expected))
        assert plies[row].tolist() == expected + [NO_MOVE] * (8 - len(expected))
    assert lengths == set(range(1, 9))
    some = rows[3::7]
    np.testing.assert_array_equal(continuations(dataset, some), plies[some])


def run_script(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "build_memory.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_from_data_set_and_weights_to_memory(tmp_path: Path, dataset: Dataset) -> None:
    data, weights, out = tmp_path / "data", tmp_path / "weights", tmp_path / "new" / "memory.safetensors"
    dataset.save(data)
    torch.manual_seed(0)
    save_weights(weights, Network(PRESETS["tiny"], retrieval=False), PRESETS["tiny"], {})
    options = ["--data", data, "--weights", weights, "--out", out, "--threads", 1]
    run = run_script(*options, "--entries", 250)
    assert run.returncode == 0, run.stderr
    assert "250 entries of" in run.stdout
    assert "recall@4" in run.stdout

    backbone = load_backbone(weights)
    memory = Memory.open(out, backbone.fingerprint)
    assert len(memory) == 250
    assert (dataset.split[memory.game] == MEMORY).all()
    assert memory.provenance.sources == "random.pgn"
    assert memory.game_name(int(memory.game[0])).startswith(f"White {memory.game[0]} - Black")
    for entry in range(0, 250, 10):
        board = unpack(memory.boards[entry], int(memory.clocks[entry]))
        for ply in memory.continuations[entry]:
            if ply == NO_MOVE:
                break
            move = index_to_move(int(ply), board)
            assert board.is_legal(move)
            board.push(move)
    queries = project(
        backbone.embed_chunks(memory.boards, memory.clocks), memory.key_mean, memory.key_projection
    ).reshape(250, -1)
    # Batches of another size may round differently in bfloat16; an entry is its own nearest all the same.
    nearest = ExactIndex(memory.position_keys).search(queries, 1)[1][:, 0]
    assert (nearest == np.arange(250)).mean() > 0.9


def test_from_games_to_memory_in_one_step(tmp_path: Path) -> None:
    weights, out = tmp_path / "weights", tmp_path / "memory.safetensors"
    torch.manual_seed(0)
    save_weights(weights, Network(PRESETS["tiny"], retrieval=False), PRESETS["tiny"], {})
    games = [tmp_path / "first.pgn", tmp_path / "second.pgn"]
    games[0].write_text('[White "A"]\n[Black "B"]\n\n1. e4 { [%eval 0.2] } e5 2. Nf3 Nc6 *\n', encoding="utf-8")
    games[1].write_text('[White "C"]\n[Black "D"]\n\n1. e4 c5 2. Nf3 d6 *\n', encoding="utf-8")
    run = run_script("--games", *games, "--weights", weights, "--out", out, "--threads", 1)
    assert run.returncode == 0, run.stderr
    memory = Memory.open(out, load_backbone(weights).fingerprint)
    assert len(memory) == 6  # the start and the reply to 1. e4 are in both games
    assert {memory.game_name(int(game)) for game in memory.game} == {"A - B", "C - D"}
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []

    anew, others = tmp_path / "anew.safetensors", tmp_path / "others"
    save_weights(others, Network(PRESETS["tiny"], retrieval=False), PRESETS["tiny"], {})
    run = run_script("--memory", out, "--weights", others, "--out", anew, "--threads", 1)
    assert run.returncode == 0, run.stderr
    assert "6 entries of" in run.stdout
    taken = Memory.open(anew, load_backbone(others).fingerprint)
    np.testing.assert_array_equal(taken.boards, memory.boards)
    assert taken.provenance.sources == "first.pgn, second.pgn"
    run = run_script("--memory", out, "--weights", others, "--out", anew, "--entries", 3)
    assert (run.returncode, "do not go with --memory" in run.stderr) == (2, True)


def test_game_files_that_are_touched_while_it_builds_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    games, weights, out = (tmp_path / name for name in ("games.pgn", "weights", "memory.safetensors"))
    games.write_text("1. e4 e5 2. Nf3 Nc6 *\n")
    save_weights(weights, Network(PRESETS["tiny"], retrieval=False), PRESETS["tiny"], {})

    def touch_and_load(path: Path, threads: int) -> Embedder:
        os.utime(games, (1, 1))
        return load_backbone(path, threads)

    monkeypatch.setattr(memory_run, "load_backbone", touch_and_load)
    report = make_memory(MemoryRun(out, weights, games=[games], threads=1), print)
    assert report.built.entries == len(Memory.open(out)) == 4
    assert {path.name for path in tmp_path.iterdir()} == {"games.pgn", "weights", "memory.safetensors"}


def test_a_damaged_memory_does_not_become_a_sound_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, old, new = (tmp_path / name for name in ("weights", "old", "new"))
    save_weights(weights, Network(PRESETS["tiny"], retrieval=False), PRESETS["tiny"], {})
    memory = small_memory()
    memory.write(old)
    data = bytearray(old.read_bytes())
    at = data.index(memory.boards[:4].tobytes())
    data[at] ^= 1
    old.write_bytes(data)
    monkeypatch.setattr(memory_module, "VERIFY_AT_OPEN_BYTES", 0)  # as a large one is opened
    Memory.open(old)
    with pytest.raises(MemoryFileError, match="boards"):
        make_memory(MemoryRun(new, weights, memory=old, threads=1), print)
    assert not new.exists()


@pytest.mark.parametrize(
    ("script", "option", "number"),
    [
        (build_memory, "--threads", "0"),
        (build_memory, "--threads", "-1"),
        (build_memory, "--seed", "-1"),
        (build_memory, "--entries", "0"),
        (teach, "--threads", "0"),
        (teach, "--threads", "-1"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(
    script: ModuleType,
    option: str,
    number: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    arguments = ["--data", data, *(["--out", out] if script is build_memory else []), f"{option}={number}"]
    monkeypatch.setattr(sys, "argv", [f"{script.__name__}.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == 2
    assert f"argument {option}: '{number}' is not a whole number" in capsys.readouterr().err


def test_bad_input_gets_one_sentence(tmp_path: Path, dataset: Dataset) -> None:
    data = tmp_path / "data"
    dataset.save(data)
    missing = tmp_path / "missing"
    for arguments, name in (
        (["--data", missing, "--weights", missing], "data set"),
        (["--data", data, "--weights", missing], "weights file"),
    ):
        run = run_script(*arguments, "--out", tmp_path / "out")
        assert run.returncode == 1
        assert run.stderr.startswith(f"build_memory: {name} {missing}")
        assert run.stderr.count("\n") == 1
    assert run_script("--data", data, "--weights", data, "--out", data, "--entries", 0).returncode == 2
