"""How scripts end: one sentence for what they expect, the traceback for what nobody does."""

from __future__ import annotations

import sys

import pytest
from training import SCRIPTS

sys.path.insert(0, str(SCRIPTS))
from command_line.ending import GOES_ON, INTERRUPTED, one_sentence


def test_an_expected_error_ends_the_script_with_its_sentence() -> None:
    with pytest.raises(SystemExit) as ending, one_sentence("match", ValueError, OSError):
        raise FileNotFoundError("games.pgn is not there")
    assert ending.value.code == "match: games.pgn is not there"


def test_control_c_says_what_has_become_of_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending, one_sentence("match", stopped=GOES_ON):
        raise KeyboardInterrupt
    assert ending.value.code == INTERRUPTED
    assert capsys.readouterr().err == f"match: stopped; {GOES_ON}\n"


def test_a_mistake_of_our_own_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), one_sentence("match", ValueError):
        raise ZeroDivisionError
