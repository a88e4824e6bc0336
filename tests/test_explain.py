"""Explanations: leave-one-out influence, the page with boards, ShowNeighbours; with the shipped net and memory."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import chess
import numpy as np
import pytest
import torch
from fake_evaluator import Client, FakeEvaluator, best_move
from lines import next_line
from memories import PLIES_A_GAME, small_memory
from numpy.typing import NDArray

from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.engine.pages.explanation import page
from dejavu.engine.pages.told import memory_told
from dejavu.engine.search.game import Game
from dejavu.engine.uci.inspection import neighbour_lines
from dejavu.model.chess.encoding import clock_byte, index_to_move, move_to_index, pack, stack
from dejavu.model.config import MEMORY_REACH, PRESETS
from dejavu.model.explanation import Explanation, NeighbourDescription
from dejavu.model.inference import NetworkEvaluator, load_backbone
from dejavu.model.network import Network
from dejavu.model.weights import save_weights
from dejavu.retrieval.moves import NO_MOVE

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
    (nearest,) = explanation.neighbours
    assert 0 < nearest.policy_change <= 1


def test_the_page_needs_nothing_else_and_tells_lines_with_the_right_colours(
    board: chess.Board, explanation: Explanation
) -> None:
    text = page(board, explanation, "a <net>")
    assert text.count("<svg") == 1 + len(explanation.neighbours)
    assert "a &lt;net&gt;" in text
    assert "<script" not in text
    assert "src=" not in text
    (nearest,) = explanation.neighbours
    assert f"<b>{nearest.line(board)}</b>" in text


def test_a_neighbour_that_nobody_has_evaluated_has_no_chances(board: chess.Board, explanation: Explanation) -> None:
    (nearest,) = explanation.neighbours
    taught = replace(nearest, wdl=(1 / 3, 1 / 3, 1 / 3))
    assert " not evaluated moves " in taught.describe(board)
    assert " wdl " not in taught.describe(board)
    assert re.search(r" wdl \d+ \d+ \d+ moves ", nearest.describe(board))
    for item, times in ((nearest, 0), (taught, 1)):
        card = page(board, replace(explanation, neighbours=(item,)), "net").split("<article>")[1]
        assert card.count("not evaluated") == times
        assert card.count("33% / 33% / 33%") == 0
        assert card.count("win / draw / loss") == 1 - times


def told(line: str) -> tuple[chess.Board, list[str]]:
    """Position and moves that a line about a neighbour tells of."""
    match = re.search(r" moves (.*) game .* fen (.*)", line)
    assert match, line
    return chess.Board(match[2]), match[1].split()


@pytest.mark.parametrize(("played", "first"), [("e2e4 c7c5 g1f3", "2..."), ("e2e4 c7c5 g1f3 d7d6", "3.")])
def test_neighbours_are_told_with_the_colours_and_move_number_of_the_position(
    evaluator: NetworkEvaluator, played: str, first: str
) -> None:
    board = chess.Board()
    for move in played.split():
        board.push_uci(move)
    client = Client(evaluator)
    shown = client.go("setoption name ShowNeighbours value true", f"position startpos moves {played}", "go nodes 1")
    told_so = rf"no neighbour played|remembered from .*: {re.escape(first)}\S+, .*, distance \d+$"
    assert any(re.search(told_so, line) for line in shown)
    client.send("eval")
    lines = client.ready()
    client.close()
    script = [sys.executable, str(SCRIPT), "startpos", "--moves", *played.split()]
    lines += subprocess.run(script, capture_output=True, text=True, check=True).stdout.splitlines()
    about = [line for line in lines if "distance " in line]
    assert len(about) >= 2
    for line in about:
        remembered, moves = told(line)
        assert remembered.turn == board.turn
        assert remembered.fullmove_number == board.fullmove_number
        assert moves[0].startswith(first)
        # A well-known opening, so these very positions are remembered.
        assert remembered.board_fen() == board.board_fen()
        for word in moves:
            number = re.match(r"(\d+)\.(\.\.)?", word)
            assert (number is not None) == (remembered.turn == chess.WHITE or word == moves[0])
            assert number is None or int(number[1]) == remembered.fullmove_number
            remembered.push_san(word.split(".")[-1])


@pytest.fixture(scope="module")
def by_chunk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Weights of a tiny network whose chunks retrieve each for itself, and a memory of random games for it."""
    folder = tmp_path_factory.mktemp("by_chunk")
    torch.manual_seed(0)
    network = Network(replace(PRESETS["tiny"], chunks=8, neighbours=4, retrieve_by="chunk"), retrieval=True)
    with torch.no_grad():
        for parameter in network.parameters():  # nothing may be hidden by a zero
            parameter.add_(torch.randn_like(parameter) * 0.2)
    save_weights(folder / "weights.safetensors", network, network.config, {})
    backbone = load_backbone(folder / "weights.safetensors")
    planes, continuations = random_games(60)
    memory = small_memory(60, chunks=8, embedding=8 * 32)
    keys = memory.project(backbone.embed_chunks(planes, np.zeros(60, np.uint8))).astype(np.int8)
    memory = replace(
        memory,
        keys=keys,
        boards=planes,
        clocks=np.zeros(60, np.uint8),
        continuations=continuations,
        fingerprint=backbone.fingerprint,
    )
    memory.write(folder / "memory.safetensors")
    return folder / "weights.safetensors", folder / "memory.safetensors"


def random_games(entries: int) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """Positions [n, 4] of random games of PLIES_A_GAME plies, and the move played from each [n, 8]."""
    generator = random.Random(0)
    board, packed = chess.Board(), []
    continuations = np.full((entries, 8), NO_MOVE, np.uint16)
    for entry in range(entries):
        if entry % PLIES_A_GAME == 0:
            board.reset()
        packed.append(pack(board))
        move = generator.choice(list(board.legal_moves))
        continuations[entry, 0] = move_to_index(move, board)
        board.push(move)
    return stack(packed), continuations


def test_a_network_that_retrieves_by_chunk_names_the_chunk_of_every_neighbour(
    board: chess.Board, by_chunk: tuple[Path, Path]
) -> None:
    evaluator = NetworkEvaluator.load(*by_chunk, threads=1, backend="torch")
    # Black's second move, whose first rank is White's eighth.
    found = evaluator.explain(stack([pack(board)]), np.array([clock_byte(board.halfmove_clock, False)], np.uint8))
    assert found is not None
    ranks = [item.squares for item in found.neighbours]
    assert ranks == [tuple(range(8 * rank, 8 * rank + 8)) for rank in range(8) for _ in range(4)]
    for rank in range(8):
        distances = [item.distance for item in found.neighbours[4 * rank : 4 * rank + 4]]
        assert distances == sorted(distances)
    for number, item in enumerate(found.neighbours):
        assert f" on rank {8 - number // 4} " in item.describe(board)
        assert item.describe(board).startswith("distance ")  # what a match looks for in the answer to `eval`
    cards = page(board, found, "net").split("<article>")[1:]
    assert [re.findall(r"distance \d+ on ([a-z]+ \d)<", card) for card in cards] == [
        [f"rank {8 - number // 4}"] for number in range(32)
    ]
    client = Client(evaluator)
    client.send("position startpos moves e2e4 c7c5 g1f3", "eval")
    lines = [line for line in client.ready() if " on rank " in line]
    client.close()
    assert [line[line.index("distance ") :] for line in lines] == [item.describe(board) for item in found.neighbours]


def test_the_script_explains_a_network_that_retrieves_by_chunk(by_chunk: tuple[Path, Path], tmp_path: Path) -> None:
    weights, memory = map(str, by_chunk)
    html = tmp_path / "why.html"
    command = [sys.executable, str(SCRIPT), "startpos", "--weights", weights, "--memory", memory, "--html", str(html)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    named = re.findall(r"^distance \d+ on (rank \d) ", done.stdout, re.M)
    assert named == [f"rank {1 + number // 4}" for number in range(32)]
    assert html.read_text(encoding="utf-8").count("<article>") == 32


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
    commands = "setoption name ShowNeighbours value true\nposition startpos moves e2e4 c7c5 g1f3\ngo nodes 1\n"
    command = [sys.executable, "-m", "dejavu.engine"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as engine:
        assert engine.stdin is not None
        assert engine.stdout is not None
        engine.stdin.write(commands)
        engine.stdin.flush()
        lines: list[str] = []
        while not (lines and lines[-1].startswith("bestmove")):
            lines.append(next_line(engine.stdout))
        engine.stdin.write("quit\n")
        engine.stdin.flush()
    board = chess.Board()
    for played in ("e2e4", "c7c5", "g1f3"):
        board.push_uci(played)
    san = board.san(chess.Move.from_uci(lines[-1].split()[1]))
    [named] = [line for line in lines if line.startswith("info string remembered from ")]
    assert f": 2...{san}, " in named
    assert not any("no neighbour played" in line for line in lines)


WITHOUT_A_PAWN = "rnbqkbnr/1ppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq - 0 1"
"""Within reach of a remembered position, but with pawns that no entry has."""


@pytest.mark.parametrize(("fen", "reach"), [(WITHOUT_A_PAWN, MEMORY_REACH), (chess.STARTING_FEN, -1.0)])
def test_a_neighbour_that_was_not_asked_is_named_nowhere(
    evaluator: NetworkEvaluator, monkeypatch: pytest.MonkeyPatch, fen: str, reach: float
) -> None:
    monkeypatch.setattr(evaluator, "memory_reach", reach)
    board = chess.Board(fen)
    found = evaluator.explain(stack([pack(board)]), np.zeros(1, np.uint8))
    assert found is not None
    assert found.with_memory == found.without_memory
    assert found.neighbours
    assert reach < 0 or found.neighbours[0].distance <= reach
    assert not any(item.counted for item in found.neighbours)
    assert memory_told(found, board)["remembered"] == []
    for item in found.neighbours:
        move = index_to_move(item.move, board)
        if board.is_legal(move):
            told = neighbour_lines(evaluator, Game(fen, chess960=False), move.uci())
            assert told == [f"no neighbour played {move.uci()}"]


def test_a_neighbour_that_was_asked_is_named(
    board: chess.Board, evaluator: NetworkEvaluator, explanation: Explanation
) -> None:
    (nearest,) = explanation.neighbours
    assert nearest.counted
    assert replace(nearest, policy_change=0.0, value_change=-0.01).counted
    assert not replace(nearest, policy_change=0.0, value_change=0.0).counted
    [told] = memory_told(explanation, board)["remembered"]
    assert told.startswith("remembered from ")


def test_neighbours_that_cannot_be_told_cost_a_sentence_not_the_move() -> None:
    class Broken(FakeEvaluator):
        def neighbours(self, planes: NDArray[np.uint64], clocks: NDArray[np.uint8]) -> list[NeighbourDescription]:
            raise RuntimeError("no such entry")

    client = Client(Broken())
    lines = client.go("setoption name ShowNeighbours value true", "position startpos", "go nodes 5")
    assert "info string the neighbours cannot be told: RuntimeError: no such entry" in lines
    assert best_move(lines)
    client.close()
