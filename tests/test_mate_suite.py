"""scripts/mate_suite.py from the outside, and the set of mates itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import chess
import pytest

ROOT = Path(__file__).resolve().parent.parent
MATES = ROOT / "tests" / "positions" / "mates.epd"

# Plays the first move that mates at once, and otherwise the first of all.
GREEDY = """\
import sys
import chess
board = chess.Board()
for line in sys.stdin:
    word, _, rest = line.strip().partition(" ")
    if word == "uci":
        print("id name Greedy\\noption name Style type string default none\\nuciok", flush=True)
    elif word == "isready":
        print("readyok", flush=True)
    elif word == "position":
        fen, _, moves = rest.removeprefix("fen ").partition(" moves")
        board = chess.Board(fen) if fen != "startpos" else chess.Board()
        for move in moves.split():
            board.push_uci(move)
    elif word == "go":
        found = sorted(board.legal_moves, key=lambda move: (not board.san(move).endswith("#"), move.uci()))
        print(f"info depth 1 nodes 7 score cp 0 pv {found[0]}\\nbestmove {found[0]}", flush=True)
    elif word == "quit":
        break
"""


def mate_suite(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    command = [sys.executable, str(ROOT / "scripts" / "mate_suite.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.fixture
def greedy(tmp_path: Path) -> str:
    """Command of an engine that sees one move deep."""
    program = tmp_path / "greedy.py"
    program.write_text(GREEDY, encoding="utf-8")
    return f"{sys.executable} {program}"


def forces_mate(board: chess.Board, moves: int) -> bool:
    """Whether the side that has just moved mates in at most `moves` further moves, whatever is played."""
    replies = after_each(board)
    if not replies:
        return board.is_check()
    return moves > 0 and all(any(forces_mate(after, moves - 1) for after in after_each(reply)) for reply in replies)


def after_each(board: chess.Board) -> list[chess.Board]:
    """Return the positions after every legal move."""
    positions = []
    for move in board.legal_moves:
        after = board.copy(stack=False)
        after.push(move)
        positions.append(after)
    return positions


def test_the_set_is_complete_and_its_mates_in_one_and_two_are_real() -> None:
    entries = [chess.Board.from_epd(line) for line in MATES.read_text(encoding="utf-8").splitlines()]
    assert Counter(operations["dm"] for _, operations in entries) == {1: 20, 2: 20, 3: 20}
    assert Counter(board.turn for board, _ in entries) == {chess.WHITE: 30, chess.BLACK: 30}
    assert len({board.epd() for board, _ in entries}) == len({str(ops["id"]) for _, ops in entries}) == 60
    for board, operations in entries:
        assert board.is_valid()
        if operations["dm"] == 3:
            continue
        for move in operations["bm"]:
            after = board.copy()
            after.push(move)
            assert forces_mate(after, operations["dm"] - 1), operations["id"]
        mates_at_once = {move for move in board.legal_moves if board.san(move).endswith("#")}
        assert mates_at_once == (set(operations["bm"]) if operations["dm"] == 1 else set())


def test_only_the_moves_that_mate_in_time_count_as_solved(tmp_path: Path, greedy: str) -> None:
    figures = tmp_path / "figures.json"
    result = mate_suite("--engine", greedy, "--option", "Style=bold", "--json", str(figures))
    assert result.returncode == 0, result.stderr
    found = json.loads(figures.read_text(encoding="utf-8"))
    ones, twos, _ = found["mates"]
    assert (ones["solved"], ones["positions"], ones["average_nodes"]) == (20, 20, 7)
    assert twos["solved"] < 20
    solved = sum(move["solved"] for move in found["moves"].values())
    assert solved == sum(row["solved"] for row in found["mates"])
    assert result.stdout.count("does not mate in") == 60 - solved


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--mates", "absent.epd"], "absent.epd"),
        (["--nodes", "0"], "'0' is not a whole number above 0"),
        (["--option", "Style"], "'Style' is not NAME=VALUE"),
        (["--option", "Colour=red"], "does not support option Colour"),
    ],
)
def test_bad_input_gets_one_sentence(greedy: str, arguments: list[str], complaint: str) -> None:
    result = mate_suite("--engine", greedy, *arguments)
    assert result.returncode == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


def test_a_line_that_is_not_a_mate_is_named(tmp_path: Path, greedy: str) -> None:
    epd = tmp_path / "broken.epd"
    epd.write_text(f"{chess.Board().epd()} bm e4; dm 1;\n{chess.Board().epd()} bm e4;\n", encoding="utf-8")
    result = mate_suite("--engine", greedy, "--mates", str(epd))
    assert result.returncode == 2
    assert result.stderr == f"mate_suite: {epd}, line 2 lacks a dm or bm operation\n"
