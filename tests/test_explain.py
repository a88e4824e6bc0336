"""Explanations: leave-one-out influence, the page with boards, ShowNeighbours; with the shipped net and memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import chess
import numpy as np
import pytest
from fake_evaluator import Client, FakeEvaluator, best_move
from numpy.typing import NDArray

from dejavu.engine.explanation_page import page
from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.model.encoding import clock_byte, move_to_index, pack, stack
from dejavu.model.explanation import Explanation, NeighbourDescription
from dejavu.model.inference import NetworkEvaluator

SCRIPT = Path(__file__).parent.parent / "scripts" / "explain.py"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def board() -> chess.Board:
    """Black to move."""
    board = chess.Board()
    for move in ("e2e4", "c7c5", "g1f3"):
        board.push_uci(move)
    return board


@pytest.fixture(scope="module")
def evaluator() -> NetworkEvaluator:
    files = wanted(Config())
    return NetworkEvaluator.load(files.weights, files.memory, threads=1, backend="torch")


@pytest.fixture(scope="module")
def explanation(board: chess.Board, evaluator: NetworkEvaluator) -> Explanation:
    clocks = np.array([clock_byte(board.halfmove_clock, False)], np.uint8)
    found = evaluator.explain(stack([pack(board)]), clocks)
    assert found is not None
    return found


def test_an_explanation_agrees_with_the_evaluator(
    board: chess.Board, evaluator: NetworkEvaluator, explanation: Explanation
) -> None:
    clocks = np.array([clock_byte(board.halfmove_clock, False)], np.uint8)
    on = evaluator.evaluate(stack([pack(board)]), clocks)
    assert explanation.with_memory == pytest.approx(on.wdl[0].tolist(), abs=0.02)
    assert {item.move for item in explanation.moves} == {move_to_index(move, board) for move in board.legal_moves}
    assert sum(item.with_memory for item in explanation.moves) == pytest.approx(1, abs=1e-3)
    assert explanation.moves[0].move == on.moves[on.logits.argmax()]
    assert len(explanation.neighbours) == 4
    distances = [item.distance for item in explanation.neighbours]
    assert distances == sorted(distances)
    assert any(item.policy_change > 0 for item in explanation.neighbours)
    assert all(0 <= item.policy_change <= 1 for item in explanation.neighbours)


def test_the_page_needs_nothing_else_and_tells_lines_with_the_right_colours(
    board: chess.Board, explanation: Explanation
) -> None:
    text = page(board, explanation, "a <net>")
    assert text.count("<svg") == 1 + len(explanation.neighbours)
    assert "a &lt;net&gt;" in text
    assert "<script" not in text
    assert "src=" not in text
    assert "<b>1..." in text  # Black was to move there, too


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_a_browser_shows_the_page(board: chess.Board, explanation: Explanation, tmp_path: Path) -> None:
    assert BROWSER is not None
    file = tmp_path / "page.html"
    file.write_text(page(board, explanation, "net"), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    size = ["--window-size=1300,1000", f"--screenshot={tmp_path / 'page.png'}"]
    done = subprocess.run([*command, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=100)
    assert done.stdout.count("<article>") == len(explanation.neighbours)
    subprocess.run([*command, *size, file.as_uri()], capture_output=True, timeout=100)
    assert (tmp_path / "page.png").stat().st_size > 20_000  # boards, not an empty page


def test_the_script_refuses_what_is_not_a_position() -> None:
    for arguments in (["8/8/8/8/8/8/8/8 w - - 0 1"], ["startpos", "--moves", "e2e5"]):
        done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True)
        assert done.returncode != 0
        assert done.stderr.startswith("explain: ")
        assert "Traceback" not in done.stderr


def test_the_engine_names_the_neighbours_behind_its_move() -> None:
    commands = "setoption name ShowNeighbours value true\nposition startpos moves e2e4\ngo nodes 1\n"
    command = [sys.executable, "-m", "dejavu.engine"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as engine:
        assert engine.stdin is not None
        assert engine.stdout is not None
        engine.stdin.write(commands)
        engine.stdin.flush()
        lines = []
        while not (lines and lines[-1].startswith("bestmove")):
            lines.append(engine.stdout.readline())
        engine.stdin.write("quit\n")
        engine.stdin.flush()
    move = lines[-1].split()[1]
    named = [line for line in lines if line.startswith(f"info string neighbour behind {move}: distance ")]
    assert named or f"info string no neighbour played {move}\n" in lines


def test_neighbours_that_cannot_be_told_cost_a_sentence_not_the_move() -> None:
    class Broken(FakeEvaluator):
        def neighbours(self, planes: NDArray[np.uint64], clocks: NDArray[np.uint8]) -> list[NeighbourDescription]:
            raise RuntimeError("no such entry")

    client = Client(Broken())
    client.evaluator.use_memory = True
    lines = client.go("setoption name ShowNeighbours value true", "position startpos", "go nodes 5")
    assert "info string the neighbours cannot be told: RuntimeError: no such entry" in lines
    assert best_move(lines)
    client.close()
