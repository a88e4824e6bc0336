"""Settings compared on positions in one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import chess
import numpy as np
import pytest
from fake_evaluator import FakeEvaluator, material, scattered

from dejavu.engine.loader import Wanted
from dejavu.engine.match.pace import Pace
from dejavu.engine.match.players import PlayerError, PlayerSettings
from dejavu.engine.match.solve import Share
from dejavu.engine.match.solving import AnswerKeeper, solve_batched
from dejavu.engine.match.suites import Problem
from dejavu.model.chess.encoding import clock_byte, pack, stack

ROOT = Path(__file__).resolve().parent.parent
MATES = ROOT / "tests" / "positions" / "mates.epd"


def problem(fen: str, wanted: str = "", unwanted: str = "") -> Problem:
    find, avoid = (tuple(map(chess.Move.from_uci, moves.split())) for moves in (wanted, unwanted))
    return Problem("problem", chess.Board(fen), find, avoid)


MATES_TWICE = problem("6k1/5ppp/8/8/8/8/3R1PPP/2R3K1 w - - 0 1", "c1c8 d2d8")
# The queen can be taken, which only a search that looks a ply ahead finds out; moves are all alike to the evaluator.
TAKES = problem("6k1/5ppp/8/8/q3R3/8/5PPP/6K1 w - - 0 1", "e4a4")
AVOIDS = problem("6k1/5ppp/8/8/8/8/q4PPP/3R2K1 w - - 0 1", unwanted="g2g3")

QUICK, SLOW = PlayerSettings("quick", (), Pace(nodes=1)), PlayerSettings("slow", (), Pace(nodes=200))


def solved(problems: list[Problem], *players: PlayerSettings, at_once: int = 8) -> tuple[list[list[bool]], int]:
    """Which player solved which, and how many positions were evaluated."""
    evaluators: list[FakeEvaluator] = []

    def load(files: Wanted) -> FakeEvaluator:
        evaluators.append(FakeEvaluator(material))
        return evaluators[-1]

    rows = list(solve_batched(problems, players, at_once, pytest.fail, load))
    return [[solution.solved for solution in row] for row in rows], sum(
        size for evaluator in evaluators for size in evaluator.batches
    )


def test_more_nodes_solve_more() -> None:
    problems = [MATES_TWICE, TAKES, AVOIDS]
    together, evaluated = solved(problems, QUICK, SLOW)
    assert [row[1] for row in together] == [True, True, True]
    assert not together[1][0]
    one_by_one, _ = solved(problems, QUICK, SLOW, at_once=1)
    assert one_by_one == together
    apart = [solved(problems, player) for player in (QUICK, SLOW)]
    assert [[left[0], right[0]] for left, right in zip(apart[0][0], apart[1][0], strict=True)] == together
    assert evaluated < apart[0][1] + apart[1][1]


def test_players_with_other_networks_do_not_share_answers() -> None:
    other = PlayerSettings("other", (), Pace(nodes=200), {"WeightsFile": "other"})
    wide = PlayerSettings("wide", (), Pace(nodes=200), {"CPuct": "2.5"})
    alone = solved([TAKES], SLOW)[1]
    assert solved([TAKES], SLOW, wide)[1] == alone
    assert solved([TAKES], SLOW, other)[1] == 2 * alone


def test_what_decides_the_answers_decides_who_shares_them() -> None:
    alone = solved([TAKES], SLOW)[1]
    spelled = PlayerSettings("spelled", (), Pace(nodes=200), {"memoryfile": "other"})
    learning = PlayerSettings("learning", (), Pace(nodes=200), {"Learn": "read"})
    assert solved([TAKES], SLOW, spelled)[1] == 2 * alone
    assert solved([TAKES], SLOW, learning)[1] == 2 * alone
    assert solved([TAKES], SLOW, PlayerSettings("same", (), Pace(nodes=200), {"threads": "2"}))[1] == alone


def test_a_keeper_asks_once_and_answers_alike() -> None:
    boards = [chess.Board(), chess.Board(TAKES.board.fen()), chess.Board(), chess.Board(AVOIDS.board.fen())]
    planes = stack([pack(board) for board in boards])
    clocks = np.array([clock_byte(0, False)] * 4, np.uint8)
    evaluator = FakeEvaluator(scattered)
    keeper = AnswerKeeper(evaluator)
    first = keeper.evaluate(planes[:2], clocks[:2])
    kept = keeper.evaluate(planes, clocks)
    assert evaluator.batches == [2, 1]
    assert len(first.wdl) == 2
    fresh = FakeEvaluator(scattered).evaluate(planes, clocks)
    for name in ("offsets", "moves", "logits", "mating", "wdl"):
        assert np.array_equal(getattr(kept, name), getattr(fresh, name))
    keeper.forget()
    keeper.evaluate(planes[:1], clocks[:1])
    assert evaluator.batches == [2, 1, 1]


def test_players_that_are_not_this_engine_are_refused() -> None:
    with pytest.raises(PlayerError, match="has a command"):
        solved([TAKES], PlayerSettings("other", ("stockfish",), Pace(nodes=1)))


def test_the_error_of_a_share() -> None:
    share = Share.of(np.array([1.0] * 25 + [0.0] * 75))
    assert share.mean == 0.25
    assert share.error == pytest.approx(np.sqrt(0.25 * 0.75 / 99))


def solve(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    command = [sys.executable, str(ROOT / "scripts" / "solve.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


def test_the_shipped_net_is_compared_with_itself(tmp_path: Path) -> None:
    suite = tmp_path / "mates.epd"
    suite.write_text("".join(MATES.read_text().splitlines(keepends=True)[:6]) + "rubbish\n")
    figures = tmp_path / "figures.json"
    players = ["--engine", "name=one", "nodes=1", "--engine", "name=many", "nodes=60"]
    done = solve(str(suite), "--batched", "8", "--each", "option.Threads=1", *players, "--json", str(figures))
    assert done.returncode == 0, done.stderr
    assert "line 7" in done.stderr
    assert "6 positions" in done.stdout
    one, many = json.loads(figures.read_text())["engines"]
    assert many["solved"] >= one["solved"]
    assert many["difference"] == pytest.approx(many["share"] - one["share"])


def test_all_memories_of_a_list_are_asked(tmp_path: Path) -> None:
    board = chess.Board()
    for move in ["a2a4", "h7h5", "a1a3", "h8h6"]:
        board.push_uci(move)
    lesson, mine, suite = tmp_path / "lesson.pgn", tmp_path / "mine.safetensors", tmp_path / "lesson.epd"
    lesson.write_text(f'[FEN "{board.fen()}"]\n[SetUp "1"]\n\n1. g4 *\n')
    suite.write_text(f"{board.epd()} bm g4;\n")
    remember = [sys.executable, str(ROOT / "scripts" / "remember.py"), str(lesson), "--lessons", "--out", str(mine)]
    subprocess.run(remember, check=True, capture_output=True)
    figures = tmp_path / "figures.json"
    memories = f"option.MemoryFile=<shipped>{os.pathsep}{mine}"
    players = ["--engine", "name=shipped", "nodes=1", "--engine", "name=both", "nodes=1", memories]
    done = solve(str(suite), "--batched", "2", "--each", "option.Threads=1", *players, "--json", str(figures))
    assert done.returncode == 0, done.stderr
    assert [player["solved"] for player in json.loads(figures.read_text())["engines"]] == [0, 1]


def test_a_bad_command_line_costs_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.epd").write_text("")
    for words, sentence in (
        ([str(tmp_path / "empty.epd"), "--engine", "nodes=1"], "holds no position"),
        ([str(tmp_path / "none.epd"), "--engine", "nodes=1"], "none.epd"),
        (["--batched", "8", "--engine", "nodes=1", "option.Colour=red"], "there is no option 'Colour'"),
        (["--data", str(tmp_path / "none"), "--engine", "nodes=1"], "none"),
    ):
        done = solve(*words)
        assert done.returncode != 0
        assert done.stderr.startswith("solve: ")
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
