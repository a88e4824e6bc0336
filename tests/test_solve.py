"""scripts/solve.py from the outside, and the set of mates itself."""

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


def solve(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    command = [sys.executable, str(ROOT / "scripts" / "solve.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.fixture
def greedy(tmp_path: Path) -> list[str]:
    """Words of an engine that sees one move deep."""
    program = tmp_path / "greedy.py"
    program.write_text(GREEDY, encoding="utf-8")
    return ["--engine", f"cmd={sys.executable} {program}"]


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
        moves, distance = operations["bm"], operations["dm"]
        assert isinstance(moves, list)
        assert isinstance(distance, int)
        if distance == 3:
            continue
        for move in moves:
            after = board.copy()
            after.push(move)
            assert forces_mate(after, distance - 1), operations["id"]
        mates_at_once = {move for move in board.legal_moves if board.san(move).endswith("#")}
        assert mates_at_once == (set(moves) if distance == 1 else set())


def test_only_the_moves_that_mate_in_time_count_as_solved(tmp_path: Path, greedy: list[str]) -> None:
    figures = tmp_path / "new" / "figures.json"
    result = solve(*greedy, "option.Style=bold", "--json", str(figures))
    assert result.returncode == 0, result.stderr
    (found,) = json.loads(figures.read_text(encoding="utf-8"))["engines"]
    ones, twos, _ = found["groups"]
    assert (ones["mate_in"], ones["solved"], ones["positions"], ones["average_nodes"]) == (1, 20, 20, 7)
    assert twos["solved"] < 20
    assert found["settings"] == "800 nodes, Style=bold"
    solved = sum(answer["solved"] for answer in found["answers"])
    assert solved == found["solved"] == sum(row["solved"] for row in found["groups"])
    assert result.stdout.count("wanted") == 60 - solved
    assert "mate in 1: 20 of 20, 7 nodes on average" in result.stdout
    assert result.stdout.endswith(f"solved {solved} of 60 ({100 * solved / 60:.1f} %) at 800 nodes, Style=bold\n")


def test_moves_to_find_and_to_avoid(tmp_path: Path, greedy: list[str]) -> None:
    epd = tmp_path / "tactics.epd"
    epd.write_text(
        # The greedy engine mates: by either move, against its orders, and not when another move is asked for.
        '6k1/5ppp/8/8/8/8/5PPP/3RR1K1 w - - bm Re8# Rd8#; id "either";\n'
        '6k1/5ppp/8/8/8/8/5PPP/3R2K1 w - - am Rd8#; id "stalling";\n'
        '6k1/5ppp/8/8/8/8/5PPP/3R2K1 w - - bm h3 g3; am Kf1; id "making room";\n'
        "6k1/5ppp/8/8/8/8/5PPP/3R2K1 w - - am h3 g3;\n",
        encoding="utf-8",
    )
    result = solve(str(epd), *greedy, "movetime=5")
    assert result.returncode == 0, result.stderr
    fen = "6k1/5ppp/8/8/8/8/5PPP/3R2K1 w - - 0 1"
    assert result.stdout.splitlines() == [
        f"stalling  {fen}  wanted not Rd8#; played Rd8# (+0.00)",
        f"making room  {fen}  wanted h3 or g3, not Kf1; played Rd8# (+0.00)",
        "solved 2 of 4 (50.0 %) at 0.005/move",
    ]


def test_broken_lines_are_named_and_left_out(tmp_path: Path, greedy: list[str]) -> None:
    epd, figures = tmp_path / "broken.epd", tmp_path / "figures.json"
    start = chess.Board().epd()
    lines = [
        "hello",
        f"{start} bm Ke5;",
        f'{start} bm e4; id "good \xe9";',
        "",
        f'{start} id "aimless";',
        f"{start} bm e4; dm 0;",
        "8/8/8/8/8/8/PPP5/1K6 w - - bm a3;",
    ]
    epd.write_text("\n".join(lines), encoding="latin-1")
    result = solve(str(epd), *greedy, "--json", str(figures))
    assert result.returncode == 0, result.stderr
    assert "of 1 (" in result.stdout
    complaints = [line for line in result.stderr.splitlines() if line.startswith("solve: ")]
    assert [line.partition(":")[2].partition(": ")[0] for line in complaints] == [
        f" {epd}, line {number}" for number in (1, 2, 5, 6, 7)
    ]
    assert len(json.loads(figures.read_text(encoding="utf-8"))["left_out"]) == 5
    epd.write_text("hello\n", encoding="utf-8")
    result = solve(str(epd), *greedy)
    assert result.returncode == 1
    assert f"{epd} holds no position that can be used" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["absent.epd"], 1, "absent.epd"),
        (["--each", "nodes=0"], 1, "'nodes=0' needs a number above 0"),
        (["--batched", "0"], 2, "'0' is not a whole number above 0"),
        (["--each", "option.Colour=red"], 1, "has no option Colour"),
    ],
)
def test_bad_input_gets_one_sentence(greedy: list[str], arguments: list[str], status: int, complaint: str) -> None:
    result = solve(*greedy, *arguments)
    assert result.returncode == status
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr
