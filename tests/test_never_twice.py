"""Never twice: rounds are counted, lost games compared by their moves, and each arm learns into a file of its own."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dejavu.engine.match.adjudication import Rules
from dejavu.engine.match.elo import score_interval
from dejavu.engine.match.never_twice import Course, NeverTwiceReport, NeverTwiceRun, Round, play, rounds_of
from dejavu.engine.match.pace import Pace
from dejavu.engine.match.players import PlayerError, PlayerSettings

SCRIPTED = Path(__file__).parent / "scripted_engine.py"


def test_of_games_lost_in_the_first_round_those_count_that_went_another_way() -> None:
    lost, won = ((1, 1), 0.0, ("e2e4", "e7e5")), ((1, 2), 1.0, ("d2d4",))
    also_lost = ((2, 1), 0.0, ("c2c4",))
    first = [Course(1, *each) for each in (lost, won, also_lost)]
    second = [
        Course(2, *lost),
        Course(2, (1, 2), 0.0, ("d2d4",)),
        Course(2, (2, 1), 0.5, ("c2c4", "c7c5")),
    ]
    one, two = rounds_of("on", [*first, *second])
    assert [one.games, two.games] == [3, 3]
    assert [one.score, two.score] == pytest.approx([1 / 3, 1 / 6])
    assert (two.lost_first, two.other_course, two.lost_again, two.lost_the_same_way) == (2, 1, 1, 1)
    assert "of 2 lost in round 1, 1 went another way and 1 were lost again, 1 of them by the same moves" in str(two)


def test_the_gain_has_an_interval() -> None:
    rounds = [Round("on", n, 60, score, score_interval(score, 60), 0, 0, 0, 0) for n, score in ((1, 0.55), (5, 0.8))]
    elo, error = NeverTwiceReport(rounds).gain("on")
    assert elo == pytest.approx(206, abs=1)
    assert error == pytest.approx(139, abs=2)


def test_both_arms_are_played_with_files_of_their_own_and_go_on_after_a_stop(tmp_path: Path) -> None:
    openings = tmp_path / "two.epd"
    openings.write_text("8/5k2/8/8/8/8/1R3K2/8 w - -\n8/5k2/8/8/8/8/2R2K2/8 w - -\n")
    opponent = PlayerSettings("scripted", (sys.executable, str(SCRIPTED)), Pace(None, None, 1, None))
    run = NeverTwiceRun(
        opponent, openings, tmp_path / "run", nodes=200, count=1, rounds=2, rules=Rules(None, None, maxmoves=1)
    )
    said: list[str] = []
    report = play(run, said.append, said.append)
    assert [(item.arm, item.number, item.games) for item in report.rounds] == [
        ("on", 1, 2),
        ("on", 2, 2),
        ("off", 1, 2),
        ("off", 2, 2),
    ]
    assert (tmp_path / "run" / "on" / "learned.dejavu").exists()
    assert not (tmp_path / "run" / "off" / "learned.dejavu").exists()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"on", "off", "report.json", "rounds.png"}
    again: list[str] = []
    assert str(play(run, again.append, again.append)) == str(report)
    assert again == ["Learn on", "Learn off"]  # nothing was left to play
    with pytest.raises(PlayerError, match="give it its name="):
        play(replace(run, opponent=replace(opponent, name="Dejavu")), said.append, said.append)
