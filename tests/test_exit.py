"""How scripts end: one sentence for what they expect, the traceback for what nobody does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
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
