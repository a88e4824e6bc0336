"""scripts/regret.py: whose moves are worth more, judged only where they differ, and what a second run does again."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import chess
import pytest

from dejavu.engine.annotation.output import OutputError
from dejavu.engine.annotation.regret import RegretRun, regret
from dejavu.engine.annotation.teacher import TeacherSettings
from dejavu.engine.match.pace import Pace
from dejavu.engine.match.players import PlayerSettings
from dejavu.engine.match.suites import Problem

SCRIPTED = Path(__file__).parent / "scripted_engine.py"
MATE = "6k1/5ppp/8/8/8/8/8/K2R4 w - - 0 1"
"""The first engine mates; the other moves its rook along the first rank."""
ONE_MOVE = "k7/8/1K6/8/8/8/8/7R b - - 0 1"
"""Both play the only legal move."""


@pytest.fixture
def run(tmp_path: Path) -> RegretRun:
    engines = [
        PlayerSettings(name, (sys.executable, str(SCRIPTED), *words), Pace(nodes=1), {})
        for name, *words in (("first", f"log={tmp_path / 'played'}"), ("last", "plays=last"))
    ]
    command = (sys.executable, str(SCRIPTED), "score=100", f"log={tmp_path / 'asked'}")
    problems = [Problem(fen, chess.Board(fen), ()) for fen in (MATE, ONE_MOVE)]
    return RegretRun(problems, engines, TeacherSettings(command, {}, 1, None, 60), tmp_path / "run")


def test_moves_are_judged_where_they_differ(run: RegretRun, capsys: pytest.CaptureFixture[str]) -> None:
    report = regret(run, pytest.fail)
    assert report.values[1].tolist() == [0, 0]
    mates, other = report.values[0]
    assert mates == 1
    assert other == pytest.approx(-0.5, abs=0.02)  # a pawn down is an even chance to lose
    assert report.gain(1).mean == pytest.approx((other - mates) / 2)
    assert "better in 0, worse in 1" in str(report)
    assert report.as_json()[1]["gain"] == report.gain(1).mean


def test_a_second_run_asks_nobody_again(run: RegretRun, tmp_path: Path) -> None:
    report = regret(run, pytest.fail)
    (tmp_path / "played").write_text("")
    again = regret(run, pytest.fail)
    assert again.values.tolist() == report.values.tolist()
    assert "go nodes" not in (tmp_path / "asked").read_text()  # each start of an engine begins its log anew
    assert not (tmp_path / "played").read_text()


def test_a_run_that_was_killed_goes_on(run: RegretRun) -> None:
    report = regret(run, pytest.fail)
    moves = run.folder / "moves.jsonl"
    moves.write_bytes(moves.read_bytes()[:-9])
    assert regret(run, pytest.fail).values.tolist() == report.values.tolist()


def test_a_folder_of_another_run_is_refused(run: RegretRun) -> None:
    regret(run, pytest.fail)
    judge = replace(run.judge, nodes=2)
    for other in ({"problems": run.problems[::-1]}, {"engines": run.engines[::-1]}, {"judge": judge}):
        with pytest.raises(OutputError, match=r"moves\.jsonl is of other positions, engines or another judge"):
            regret(replace(run, **other), pytest.fail)
