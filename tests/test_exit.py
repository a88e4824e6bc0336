"""How scripts end: one sentence for what they expect, the traceback for what nobody does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from scripts_together import Ended, run_together
from training import SCRIPTS

from dejavu.retrieval.atomic import WriteError

sys.path.insert(0, str(SCRIPTS))
from command_line.exit import GOES_ON, INTERRUPTED, one_sentence


def test_an_expected_error_ends_the_script_with_its_sentence() -> None:
    with pytest.raises(SystemExit) as ending, one_sentence("match", ValueError, OSError):
        raise FileNotFoundError("games.pgn is not there")
    assert ending.value.code == "match: games.pgn is not there"


def test_a_file_that_cannot_be_written_is_named_with_what_is_then_true_of_the_work() -> None:
    with pytest.raises(SystemExit) as ending, one_sentence("match", ValueError, stopped=GOES_ON):
        raise WriteError(Path("match.pgn"), "No space left on device")
    assert ending.value.code == f"match: match.pgn cannot be written: No space left on device; {GOES_ON}"


def test_an_error_of_the_system_has_no_number() -> None:
    with pytest.raises(SystemExit) as ending, one_sentence("match", OSError):
        raise PermissionError(13, "Permission denied", "games.pgn")
    assert ending.value.code == "match: games.pgn: Permission denied"


def test_control_c_says_what_has_become_of_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending, one_sentence("match", stopped=GOES_ON):
        raise KeyboardInterrupt
    assert ending.value.code == INTERRUPTED
    assert capsys.readouterr().err == f"match: stopped; {GOES_ON}\n"


def test_a_mistake_of_our_own_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), one_sentence("match", ValueError):
        raise ZeroDivisionError


def test_what_could_not_be_drawn_is_not_begun_and_says_what_to_install(tmp_path: Path) -> None:
    file, run = str(tmp_path / "there is none"), ["--run", str(tmp_path / "run")]
    commands = [
        ["train.py", "backbone", "--data", file, *run, "--steps", "4"],
        ["train_device.py", "train", "--data", file, "--arrays", file, *run],
        ["never_twice.py", "--opponent", f"cmd={file}", *run],
        ["selfplay.py", "--out", file],
        ["improve.py", "--start", file, *run],
        ["evaluate.py", "--data", file, "--plot", file],
        ["evaluate.py", "--data", file, "--calibration", file],
    ]
    help_of_all = [[script, "--help"] for script in dict.fromkeys(words[0] for words in commands)]
    without_plots = ["evaluate.py", "--data", file]
    *ended, other = run_together([*commands, *help_of_all, without_plots], missing=["matplotlib"])
    assert ended[: len(commands)] == [
        Ended("", f'{words[0]} needs matplotlib: run pip install ".[train]" in the folder of Dejavu')
        for words in commands
    ]
    assert [end.status for end in ended[len(commands) :]] == [0] * len(help_of_all)
    assert str(other.status).startswith("evaluate: data set ")
    assert list(tmp_path.iterdir()) == []
