"""The teacher of single positions: its verdicts, and what becomes of an engine that fails."""

from __future__ import annotations

import sys
from pathlib import Path

import chess
import chess.engine
import pytest

from dejavu.engine.annotation.quick_teacher import QuickTeacher
from dejavu.engine.annotation.teacher import TeacherSettings
from dejavu.engine.match.players import FailureError, PlayerError

ENGINE = Path(__file__).parent / "scripted_engine.py"
BLACK_TO_MOVE = chess.Board("6k1/5ppp/8/8/8/8/8/K2R4 b - - 0 1")
PATIENCE = 1.0


def teacher(*script: str, options: dict[str, str] | None = None, plies: int = 1) -> QuickTeacher:
    command = (sys.executable, str(ENGINE), *script)
    return QuickTeacher(TeacherSettings(command, options or {}, nodes=1200, movetime=None, patience=PATIENCE), plies)


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    return tmp_path / "asked"


def test_the_verdict_is_that_of_the_side_to_move(asked: Path) -> None:
    engine = teacher("score=-70", f"log={asked}")
    verdict = engine.evaluate(BLACK_TO_MOVE)
    engine.close()
    assert verdict.best == chess.Move.from_uci("f7f5")
    assert verdict.score == chess.engine.PovScore(chess.engine.Cp(-70), chess.BLACK)
    assert engine.name == "Scripted, 1200 nodes"
    sent = asked.read_text().splitlines()
    assert sent[1:] == [
        "uci",
        "setoption name Hash value 16",
        "ucinewgame",
        "isready",
        f"position fen {BLACK_TO_MOVE.fen()}",
        "go nodes 1200",
        "quit",
    ]


@pytest.mark.parametrize(
    ("told", "plies", "line"),
    [
        ("f7f5 d1d7 g8f8", 8, ["d1d7", "g8f8"]),
        ("f7f5 d1d7 g8f8", 2, ["d1d7"]),
        ("f7f5 d1d7 g8f8", 1, []),
        ("f7f5 d1d7 a1a8 g8f8", 8, ["d1d7"]),  # up to what is not legal
        ("g7g6 d1d7", 8, []),  # not the line of the move it plays
    ],
)
def test_the_line_that_it_expects_is_told_as_far_as_it_is_asked_for(told: str, plies: int, line: list[str]) -> None:
    engine = teacher(f"line={told}", plies=plies)
    verdict = engine.evaluate(BLACK_TO_MOVE)
    engine.close()
    assert [move.uci() for move in verdict.line] == line


def test_an_option_is_set_and_beats_the_usual_one(asked: Path) -> None:
    engine = teacher(f"log={asked}", options={"Hash": "1", "Style": "wild"})
    engine.start()
    engine.close()
    assert "setoption name Hash value 1\nsetoption name Style value wild\n" in asked.read_text()


@pytest.mark.parametrize(
    ("script", "options", "sentence"),
    [
        (["startup=fail"], {}, "the teacher does not start as "),
        ([], {"Contempt": "3"}, "the teacher has no option Contempt"),
        ([], {"hash": "9999"}, "the teacher does not take Hash=9999 (it takes 1 to 64)"),
        ([], {"Style": "dull"}, "the teacher does not take Style=dull"),
    ],
)
def test_an_engine_that_does_not_start_gets_one_sentence(
    script: list[str], options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(PlayerError) as error:
        teacher(*script, options=options).start()
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("crash=2", "the teacher has ended, with exit status 3"),
        ("hang=2", "the teacher has said nothing for "),
        ("illegal=2", "the teacher answers `bestmove e1e8` in "),
    ],
)
def test_an_engine_that_fails_is_told_of_and_started_again(script: str, sentence: str) -> None:
    engine = teacher(script)
    engine.evaluate(BLACK_TO_MOVE)
    with pytest.raises(FailureError) as error:
        engine.evaluate(BLACK_TO_MOVE)
    assert str(error.value).startswith(sentence)
    engine.close()
    assert engine.evaluate(BLACK_TO_MOVE).best is not None
    engine.close()
