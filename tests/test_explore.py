"""scripts/explore.py from the outside: what it explores, writes, and does not ask twice."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import chess
import chess.pgn
import pytest

from dejavu.engine.annotation.game_openings import game_openings
from dejavu.engine.match.openings import OpeningError
from dejavu.model.chess.encoding import pack
from dejavu.model.data.dataset import HELD_OUT, Dataset
from dejavu.model.data.games import read_game

SCRIPT = Path(__file__).parent.parent / "scripts" / "explore.py"
ENGINE = Path(__file__).parent / "scripted_engine.py"
OPENINGS = "A00\tGrob\t1. g4\nC50\tItalian\t1. e4 e5 2. Nf3 Nc6 3. Bc4\n"


def explore(folder: Path, weights: Path, *engine: str, table: str = OPENINGS) -> subprocess.CompletedProcess[str]:
    openings = folder / "openings.tsv"
    openings.write_text(table, encoding="utf-8")
    teacher = " ".join([sys.executable, str(ENGINE), "score=30", *engine])
    options = ["--nodes", 1, "--positions", 40, "--processes", 1, "--weights", weights, "--out", folder / "lines.pgn"]
    command = [sys.executable, SCRIPT, "--openings", openings, "--engine", teacher, *options]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)


def test_lines_begin_with_the_openings_and_name_the_teachers_moves(tmp_path: Path, weights: Path) -> None:
    done = explore(tmp_path, weights, f"log={tmp_path / 'asked'}")
    assert done.returncode == 0, done.stderr
    assert "40 positions labelled" in done.stdout
    lines = (tmp_path / "lines.pgn").read_text(encoding="utf-8")
    text = io.StringIO(lines)
    ways, openings = set(), set()
    while (game := chess.pgn.read_game(text)) is not None:
        assert not game.errors
        moves = [move.uci() for move in game.mainline_moves()]
        openings.add(game.headers["Opening"])
        ways.add(" ".join(moves))
        positions = read_game(str(game))
        # All but the last position, which the teacher's own move leads to, are labelled: 30 centipawns for the mover.
        assert positions.centipawns.tolist() == [30] * len(moves)
        # The teacher's move is the first in the alphabet; where the line goes on with another it is a variation.
        board = game.board()
        for node in game.mainline():
            best = min(move.uci() for move in board.legal_moves)
            parent = node.parent
            assert parent is not None
            assert best in {other.move.uci() for other in parent.variations}
            board.push(node.move)
    assert openings == {"Grob", "Italian"}
    italian = "e2e4 e7e5 g1f3 b8c6 f1c4"
    assert any(way.startswith(italian) for way in ways)
    assert any(way.startswith("g2g4") and len(way.split()) > 2 for way in ways)

    asked = (tmp_path / "asked").read_text(encoding="utf-8").count("go ")
    assert asked == 40
    labelled = tmp_path / "lines.pgn.labels"
    whole = labelled.read_bytes()
    labelled.write_bytes(whole[: len(whole) // 2])  # killed in the middle of a line
    again = explore(tmp_path, weights, f"log={tmp_path / 'again'}")
    assert again.returncode == 0, again.stderr
    assert 0 < (tmp_path / "again").read_text(encoding="utf-8").count("go ") < 40
    assert (tmp_path / "lines.pgn").read_text(encoding="utf-8") == lines


def test_what_cannot_be_used_is_said_in_one_sentence(tmp_path: Path, weights: Path) -> None:
    failing = explore(tmp_path, weights, "startup=fail")
    assert failing.returncode == 1
    assert failing.stderr.strip().splitlines()[-1].startswith("explore: ")
    assert "Traceback" not in failing.stderr


def test_a_position_that_comes_with_either_colour_is_labelled_for_the_side_to_move(
    tmp_path: Path, weights: Path
) -> None:
    done = explore(tmp_path, weights, table="C20\twhite\t1. e4 e5\nC20\tblack\t1. e3 e5 2. e4 a6\n")
    assert done.returncode == 0, done.stderr
    assert "40 positions labelled" in done.stdout
    text = io.StringIO((tmp_path / "lines.pgn").read_text(encoding="utf-8"))
    movers = set()
    while (game := chess.pgn.read_game(text)) is not None:
        assert not game.errors
        for node in game.mainline():
            board = node.board()
            if pack(board) == pack(chess.Board("rnbqkbnr/pppp1ppp/8/4p3/4P3/8/PPPP1PPP/RNBQKBNR w KQkq -")):
                best = "a2a3" if board.turn == chess.WHITE else "a7a6"  # each is the other's mirror image
                assert node.is_end() or best in {other.move.uci() for other in node.variations}
                movers.add(board.turn)
    assert movers == {chess.WHITE, chess.BLACK}


def test_games_of_a_data_set_are_openings_but_for_those_held_out(data: Path) -> None:
    dataset = Dataset.open(data)
    openings = game_openings(data, plies=6)
    assert 0 < len(openings) == (dataset.split != HELD_OUT).sum() < len(dataset.split)
    held_out = dataset.planes[dataset.rows(HELD_OUT)]
    for opening in openings:
        assert 1 <= len(opening.moves) <= 6
        assert opening.board().is_valid()  # the moves are legal where they are played
    ends = {pack(opening.board()) for opening in openings}
    others = {pack(opening.board()) for opening in game_openings(data, plies=100)}
    assert len(others) == len(ends)
    assert not others & ends  # six moves are not the whole game
    assert not (others | ends) & set(map(bytes, held_out))
    with pytest.raises(OpeningError, match="holds no games from nobody"):
        game_openings(data, "nobody", 6)


def test_games_of_a_data_set_are_explored(tmp_path: Path, data: Path, weights: Path) -> None:
    engine = f"{sys.executable} {ENGINE} score=30"
    begin = [sys.executable, str(SCRIPT), "--data", str(data), "--plies", "2", "--engine", engine, "--nodes", "1"]
    rest = ["--positions", "20", "--processes", "1", "--weights", str(weights), "--out", str(tmp_path / "lines.pgn")]
    done = subprocess.run([*begin, *rest], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "20 positions labelled" in done.stdout
    assert f"one of {len(game_openings(data)):,} openings" in done.stdout


def test_a_source_without_a_data_set_is_refused(tmp_path: Path) -> None:
    options = ["--openings", "openings.tsv", "--source", "x", "--engine", "sf", "--nodes", "1", "--out"]
    options.append(str(tmp_path / "lines.pgn"))
    done = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("--source and --plies go with --data")
