"""Names from files are shown, never obeyed: by the terminal or by a browser."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import chess
import numpy as np
import pytest
from fake_evaluator import Client
from memories import small_memory

from dejavu.engine.match.openings import read_openings
from dejavu.engine.match.players import PlayerError, parse_player
from dejavu.engine.match.record import read_games
from dejavu.engine.pages.explanation import page
from dejavu.model.chess.encoding import pack
from dejavu.model.data.games import read_game
from dejavu.model.explanation import Explanation, NeighbourDescription
from dejavu.retrieval.text import plain

ROOT = Path(__file__).parent.parent
ODD = "\x1b[2J\x1b]0;owned\x07A\u202enn\u2066\x9b31m\x7f"
"""Clears the screen, names the window, turns the writing round."""
SHOWN = "[2J]0;ownedAnn31m"
GAME = f"""[Event "{ODD}"]
[White "{ODD}"]
[Black "B <i>"]
[Round "1.1"]
[Result "1-0"]

1. e4 {{+0.10/3 0.1s}} e5 {{-0.10/3 0.1s, Black {ODD} resigns}} 1-0

"""


def test_text_is_made_one_plain_line() -> None:
    assert plain(ODD) == SHOWN
    assert plain("  two\nlines\u2028and\tÜbung\xa0棋 ") == "two lines and Übung 棋"
    assert plain("").isprintable()


def test_names_of_games_are_plain_in_the_memory_and_where_they_are_shown() -> None:
    assert read_game(GAME).name == f"{SHOWN} - B <i>, {SHOWN}, 1-0"
    memory = small_memory(3)
    line = np.frombuffer(f"{ODD} - Bob".encode(), np.uint8)
    old = replace(memory, game_names=line, game_offsets=np.array([0, len(line)]))
    assert old.game_name(0) == f"{SHOWN} - Bob"
    board = chess.Board()
    neighbour = NeighbourDescription(1.0, pack(board), 0, (), (1, 0, 0), old.game_name(0), None, 0.0, 0.0)
    explanation = Explanation((), (1, 0, 0), (1, 0, 0), (neighbour,))
    assert all(
        text.replace("\n", "").isprintable() for text in (neighbour.describe(board), page(board, explanation, ""))
    )


def test_a_match_record_of_odd_names_is_summed_up_plainly(tmp_path: Path) -> None:
    path = tmp_path / "odd.pgn"
    path.write_text(GAME, encoding="utf-8")
    (game,) = read_games(path)
    assert (game.white, game.reason) == (SHOWN, f"Black {SHOWN} resigns")
    script = [sys.executable, str(ROOT / "scripts" / "match.py"), "--from-pgn", str(path)]
    for words in ([], ["--first", "nobody"]):
        done = subprocess.run([*script, *words], capture_output=True, text=True)
        assert SHOWN in done.stdout + done.stderr
        assert (done.stdout + done.stderr).replace("\n", "").isprintable()


def test_names_of_openings_and_engines_are_plain(tmp_path: Path) -> None:
    path = tmp_path / "odd.pgn"
    path.write_text(GAME.replace("Event", "Opening"), encoding="utf-8")
    assert [opening.name for opening in read_openings(path)] == [SHOWN]
    with pytest.raises(PlayerError, match="is no name"):
        parse_player([f"name={ODD}", "nodes=1"])


def test_the_engine_quotes_plainly() -> None:
    client = Client()
    client.send(f"position fen {ODD}", f"{ODD}", f"setoption name {ODD} value 1")
    lines = client.ready()
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    client.close()
