"""What ships: the engine as a user starts it, with its own net and memory."""

from __future__ import annotations

import itertools
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import chess
import chess.engine
import numpy as np
import pytest
import torch
from lines import next_line
from numpy.typing import NDArray

from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.engine.search.bench import POSITIONS
from dejavu.model.backends.simplification import simplified
from dejavu.model.backends.torch_backend import TorchBackend
from dejavu.model.chess.encoding import pack, stack
from dejavu.model.chess.features import features
from dejavu.model.network import Network
from dejavu.model.weights import fingerprint, load_weights
from dejavu.retrieval.memory import Memory

COMMAND = [sys.executable, "-m", "dejavu.engine"]


def talk(commands: str, folder: Path) -> list[str]:
    """Run the engine in another folder, as match runners do; the lines it prints for `commands`."""
    done = subprocess.run(COMMAND, input=commands, capture_output=True, text=True, cwd=folder, timeout=120, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_the_shipped_memory_belongs_to_the_shipped_net_and_keeps_its_budget() -> None:
    files = wanted(Config())
    assert files.memory is not None
    network, _ = load_weights(files.weights)
    memory = Memory.open(files.memory, fingerprint(network))
    assert network.retrieval is not None
    assert len(memory) >= 100_000
    assert files.memory.stat().st_size <= 200 * len(memory)
    assert memory.game_name(int(memory.game[0]))


def test_a_simplified_copy_rounded_to_bfloat16_evaluates_alike() -> None:
    network, _ = load_weights(wanted(Config()).weights)
    rng = random.Random(3)
    boards = [chess.Board(fen) for fen in POSITIONS for _ in range(12)]
    for board in boards:
        for _ in range(rng.randrange(12)):
            if not board.is_game_over():
                board.push(rng.choice(list(board.legal_moves)))
    given = features(stack([pack(board) for board in boards]), np.zeros(len(boards), np.uint8))

    def values(network: Network) -> NDArray[np.float32]:
        """[B] win minus loss, computed in float32"""
        backend = TorchBackend(network, torch.device("cpu"), 1, torch.float32)
        win, _, loss = backend.heads(backend.embed(given), None).chances.T
        difference: NDArray[np.float32] = win - loss
        return difference

    expected = values(network)
    found = values(simplified(network).bfloat16())
    assert np.quantile(np.abs(found - expected), 0.99) < 0.01


def test_it_plays_from_any_folder_and_names_its_neighbours(tmp_path: Path) -> None:
    commands = (
        "uci\nisready\nposition startpos moves e2e4 c7c5\neval\ngo nodes 40\nisready\ngo nodes 50\nisready\nquit\n"
    )
    lines = talk(commands, tmp_path)
    assert re.fullmatch(r"id name Dejavu 0\.1\.0 dejavu-\d+", lines[0])
    # Name and date of the net: by eval, and before the first search, but not before every search.
    named = r"info string network dejavu-\d+ of 20\d\d-\d\d-\d\d \("
    assert sum(re.match(named, line) is not None for line in lines) == 2
    assert any("memory.safetensors" in line for line in lines)
    assert sum("distance" in line and "game" in line for line in lines) == 1
    best = next(line for line in lines if line.startswith("bestmove")).split()[1]
    board = chess.Board()
    board.push_uci("e2e4")
    board.push_uci("c7c5")
    assert chess.Move.from_uci(best) in board.legal_moves
    assert not any("cannot" in line for line in lines)


def test_memory_changes_the_evaluation_and_can_be_switched_off(tmp_path: Path) -> None:
    # The effect is a few thousandths on average, less than a centipawn in many a position.
    ask = "".join(f"position fen {fen}\ngo nodes 1\nisready\n" for fen in POSITIONS)
    with_memory = talk(f"isready\n{ask}quit\n", tmp_path)
    without = talk(f"setoption name UseMemory value false\nisready\n{ask}quit\n", tmp_path)

    def scores(lines: list[str]) -> list[str]:
        # A slow machine has an info line more for some of the positions.
        last = [before for before, line in itertools.pairwise(lines) if line.startswith("bestmove")]
        return [line.split(" score ")[1].split(" hashfull")[0] for line in last]

    assert len(scores(with_memory)) == len(scores(without)) == len(POSITIONS)
    assert scores(with_memory) != scores(without)


@pytest.mark.parametrize("kind", ["weights", "memory"])
def test_a_damaged_copy_is_refused_in_one_sentence_and_the_good_one_plays_on(kind: str, tmp_path: Path) -> None:
    files = wanted(Config())
    assert files.memory is not None
    source = files.weights if kind == "weights" else files.memory
    damaged = bytearray(source.read_bytes())
    damaged[len(damaged) // 2] ^= 16
    copy = tmp_path / "damaged.safetensors"
    copy.write_bytes(damaged)
    option = "WeightsFile" if kind == "weights" else "MemoryFile"
    lines = talk(f"isready\nsetoption name {option} value {copy}\nisready\ngo nodes 5\nisready\nquit\n", tmp_path)
    complaints = [line for line in lines if "damaged" in line]
    assert len(complaints) == 1
    assert complaints[0].startswith("info string cannot load the " + kind)
    assert lines.count("readyok") == 3
    assert any(line.startswith("bestmove") for line in lines)


def test_a_copy_over_the_memory_in_the_middle_of_a_search_ends_nothing(tmp_path: Path) -> None:
    shipped = wanted(Config()).memory
    assert shipped is not None
    memory = tmp_path / "memory.safetensors"
    shutil.copy(shipped, memory)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(COMMAND, text=True, cwd=tmp_path, **pipes) as engine:  # type: ignore[call-overload]
        engine.stdin.write(f"setoption name MemoryFile value {memory}\nisready\ngo infinite\n")
        engine.stdin.flush()
        while not next_line(engine.stdout).startswith("info depth"):
            pass
        memory.write_bytes(b"the first bytes of a copy")
        time.sleep(0.5)
        told, errors = engine.communicate("stop\nisready\ngo nodes 20\nisready\nquit\n", timeout=120)
    assert (engine.returncode, errors) == (0, "")
    lines = told.splitlines()
    assert sum(line.startswith("bestmove") for line in lines) == 2
    [complaint] = [line for line in lines if "cannot" in line]
    assert complaint.endswith("the last good memory stays")


def test_python_chess_plays_moves_on_the_clock_with_it() -> None:
    clocks = {chess.WHITE: 1.0, chess.BLACK: 1.0}
    increment, least = 0.05, 0.1  # a busy machine may take longer than the engine wanted
    board = chess.Board()
    with chess.engine.SimpleEngine.popen_uci(COMMAND, timeout=60) as engine:
        engine.configure({"Threads": 1})
        for _ in range(12):
            white, black = clocks[chess.WHITE], clocks[chess.BLACK]
            limit = chess.engine.Limit(white_clock=white, black_clock=black, white_inc=increment, black_inc=increment)
            began = time.monotonic()
            result = engine.play(board, limit)
            clocks[board.turn] = max(clocks[board.turn] - (time.monotonic() - began) + increment, least)
            assert result.move is not None
            assert result.move in board.legal_moves
            board.push(result.move)


def test_the_engine_says_whether_its_memory_is_in_use(tmp_path: Path) -> None:
    lines = talk(
        "setoption name UseMemory value false\ngo nodes 1\nisready\n"
        "setoption name UseMemory value true\ngo nodes 1\nisready\nquit\n",
        tmp_path,
    )
    named = [line for line in lines if line.startswith("info string network dejavu-")]
    assert [line.endswith("the memory is not asked: UseMemory is off") for line in named] == [True, False]
