"""scripts/annotate.py from the outside, with a small teacher whose every answer can be predicted."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import chess
import chess.pgn
import pytest

from dejavu.model.chess.encoding import move_to_index
from dejavu.model.data.columns import MATE, NO_EVALUATION
from dejavu.model.data.games import read_game, split_games

SCRIPT = Path(__file__).parent.parent / "scripts" / "annotate.py"

# Says +0.13 and plays the last of the sorted moves, unless one mates. Arguments: a folder, and how it misbehaves.
TEACHER = """\
import sys, time
from pathlib import Path
import chess
folder, habit = Path(sys.argv[1]), sys.argv[2]
with (folder / "starts").open("a") as starts:
    starts.write("start\\n")
if habit == "dumb":
    sys.exit()
searches = 0
for line in sys.stdin:
    words = line.split()
    if words == ["uci"]:
        print("id name Sage\\noption name Hash type spin default 1 min 1 max 64\\nuciok", flush=True)
    elif words == ["isready"]:
        print("readyok", flush=True)
    elif words[0] == "position":
        start, _, moves = line.partition(" moves ")
        board = chess.Board() if "startpos" in start else chess.Board(start.split("fen ")[1])
        for move in moves.split():
            board.push_uci(move)
    elif words[0] == "go":
        searches += 1
        if searches == 10 and habit in ("dies", "hangs") and not (folder / "failed").exists():
            (folder / "failed").touch()
            time.sleep(60 if habit == "hangs" else 0)
            sys.exit(1)
        if habit == "hates a3" and board.piece_at(chess.A3):
            sys.exit(1)
        if habit == "slow":
            time.sleep(0.005)
        moves = sorted(board.legal_moves, key=chess.Move.uci)
        mates = [move for move in moves if "#" in board.san(move)]
        score = "mate 1" if mates else "cp 13"
        if habit == "loves White":
            score = f"cp {2000 if board.turn else -2000}"
        print("info depth 1 score", score, "nodes 5 pv", (mates or moves)[-1])
        print("bestmove", (mates or moves)[-1], flush=True)
    elif words == ["quit"]:
        break
"""

GIVEN = """[Event "Test, \u00fcber"]
[White "A"]
[Black "B"]
[Round "7"]
[Result "1-0"]
[Custom "kept"]

{old [%eval 2.00]} 1. e4 {[%eval 9.00]} (1. d4 {[%eval 8.00]}) 1... f6 2. d4 g5 3. Qh5# 1-0

[Event "Broken"]

1. e4 e5 2. Ke3 *

[Event "Empty"]

*

[Event "Second"]
[Result "1/2-1/2"]

1. h4 h5 1/2-1/2
"""


def arguments(folder: Path, *more: str, habit: str = "well") -> list[str]:
    """Command line that writes `folder`/out.pgn."""
    teacher = folder / "teacher.py"
    teacher.write_text(TEACHER, encoding="utf-8")
    command = f'"{sys.executable}" "{teacher}" "{folder}" "{habit}"'
    fixed = ["--nodes", "5", "--out", str(folder / "out.pgn"), "--engine", command]
    return [sys.executable, str(SCRIPT), *fixed, "--processes", "1", *more]


def annotate(folder: Path, *more: str, habit: str = "well") -> subprocess.CompletedProcess[str]:
    command = arguments(folder, *more, habit=habit)
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, cwd=folder)


def texts(folder: Path) -> list[str]:
    with (folder / "out.pgn").open(encoding="utf-8") as file:
        return list(split_games(file))


def parsed(text: str) -> chess.pgn.Game:
    game = chess.pgn.read_game(io.StringIO(text))
    assert game is not None
    assert not game.errors
    return game


def rounds(folder: Path) -> list[int]:
    return [int(parsed(text).headers["Round"]) for text in texts(folder)]


def sage(board: chess.Board) -> tuple[chess.Move, int]:
    """The teacher's move and evaluation, the latter as training reads it."""
    moves = sorted(board.legal_moves, key=chess.Move.uci)
    mates = [move for move in moves if "#" in board.san(move)]
    return (mates or moves)[-1], MATE - 1 if mates else 13


def test_own_games_are_read_back_with_evaluations_and_better_moves(tmp_path: Path) -> None:
    run = annotate(tmp_path, "--games", "4", "--plies", "30", "--random-moves", "0.5", "--random-plies", "2-3")
    assert run.returncode == 0, run.stderr
    assert "4 games, 0 broken" in run.stdout
    random_moves = 0
    for number, text in enumerate(texts(tmp_path), 1):
        game, positions = parsed(text), read_game(text)
        headers = game.headers
        assert headers["Round"] == str(number)
        assert headers["White"] == headers["Black"] == headers["Annotator"] == "Sage, 5 nodes"
        assert headers["Opening"]
        for ply, node in enumerate(game.mainline()):
            board = node.parent.board()
            best, centipawns = sage(board)
            assert positions.best[ply] == move_to_index(best, board)
            assert positions.played[ply] == move_to_index(node.move, board)
            assert positions.centipawns[ply] == centipawns
            if node.move != best:
                random_moves += 1
                better = node.parent.variations[1]
                assert better.move == best
                assert (better.eval() is None) == (centipawns != 13)
        end = game.end()
        assert end.eval() is not None or end.board().is_checkmate()
        assert end.ply() - game.ply() == 30 or headers["Result"] == end.board().result(claim_draw=True)
    assert random_moves > 10


def test_a_game_that_is_lost_for_long_is_adjudicated(tmp_path: Path) -> None:
    run = annotate(tmp_path, "--games", "1", "--random-moves", "0", habit="loves White")
    assert run.returncode == 0, run.stderr
    (text,) = texts(tmp_path)
    headers = parsed(text).headers
    assert (headers["Result"], headers["Termination"]) == ("1-0", "adjudication")
    assert len(read_game(text).planes) == 9
    assert "White won 1" in run.stdout


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("two.tsv", "A00\tFool\t1. f3 e5 2. g4 Qh4#\nB00\tFirst\t1. e4 a6\nC20\tSecond\t1. e4 e5\n"),
        ("two.pgn", '[ECO "B00"]\n[Opening "First"]\n\n1. e4 a6 *\n\n[Opening "C20 Second"]\n\n1. e4 e5 *\n'),
        (
            "two.epd",
            'rnbqkbnr/1ppppppp/p7/8/4P3/8/PPPP1PPP/RNBQKBNR w KQkq - id "B00 First";\n'
            'rnbqkbnr/pppp1ppp/8/4p3/4P3/8/PPPP1PPP/RNBQKBNR w KQkq - id "C20 Second";\n',
        ),
    ],
)
def test_every_opening_has_its_turn_from_any_kind_of_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    run = annotate(tmp_path, "--games", "3", "--plies", "1", "--openings", name)
    assert run.returncode == 0, run.stderr
    headers = [parsed(text).headers for text in texts(tmp_path)]
    found = [(header["FEN"].split()[0], header["ECO"], header["Opening"]) for header in headers]
    assert set(found[:2]) == {
        ("rnbqkbnr/1ppppppp/p7/8/4P3/8/PPPP1PPP/RNBQKBNR", "B00", "First"),
        ("rnbqkbnr/pppp1ppp/8/4p3/4P3/8/PPPP1PPP/RNBQKBNR", "C20", "Second"),
    }
    assert found[2] == found[0]


def test_given_games_keep_moves_and_headers_and_broken_ones_are_named(tmp_path: Path) -> None:
    given = tmp_path / "given.pgn"
    given.write_text(GIVEN, encoding="utf-8")
    run = annotate(tmp_path, "given.pgn")
    assert run.returncode == 0, run.stderr
    assert "broken: given.pgn, game 2: illegal san" in run.stderr
    assert "2 games, 1 broken" in run.stdout
    first, second = texts(tmp_path)
    assert "old" not in first
    headers = parsed(first).headers
    assert [headers[tag] for tag in ("Event", "White", "Round", "Custom")] == ["Test, \u00fcber", "A", "7", "kept"]
    moves = [node.san() for node in parsed(first).mainline()]
    assert moves == ["e4", "f6", "d4", "g5", "Qh5#"]
    positions = read_game(first)
    assert positions.centipawns.tolist() == [13, 13, 13, 13, MATE - 1]
    assert positions.result.tolist() == [1, -1, 1, -1, 1]
    assert [node.san() for node in parsed(second).mainline()] == ["h4", "h5"]
    assert (read_game(second).centipawns != NO_EVALUATION).all()
    before = (tmp_path / "out.pgn").read_bytes()
    assert annotate(tmp_path, "given.pgn").returncode == 0
    assert (tmp_path / "out.pgn").read_bytes() == before


def test_after_a_kill_no_game_is_lost_or_doubled_and_all_are_the_same(tmp_path: Path) -> None:
    games = ["--games", "10", "--plies", "16"]
    whole = tmp_path / "whole"
    whole.mkdir()
    assert annotate(whole, *games).returncode == 0
    out = tmp_path / "out.pgn"
    process = subprocess.Popen(
        arguments(tmp_path, *games, "--processes", "2", habit="slow"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    while not out.exists() or out.stat().st_size < 4000:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)  # ends when its processes and their teachers, which share the pipe, have ended
    cut = out.read_bytes()[:-300]
    out.write_bytes(cut)
    left = len(cut.split(b"\n\n[Event")) - 1
    run = annotate(tmp_path, *games)
    assert run.returncode == 0, run.stderr
    assert f"out.pgn holds 10 games, {left} from before" in run.stdout
    assert sorted(rounds(tmp_path)) == list(range(1, 11))
    assert {text.strip() for text in texts(tmp_path)} == {text.strip() for text in texts(whole)}


def test_wherever_the_last_game_is_cut_it_is_done_again(tmp_path: Path) -> None:
    games = ["--games", "2", "--plies", "4"]
    assert annotate(tmp_path, *games).returncode == 0
    out = tmp_path / "out.pgn"
    before = out.read_bytes()
    second = before.index(b'[Event "', 1)
    for cut in (second + 3, second + 40, len(before) - 1):
        out.write_bytes(before[:cut])
        assert annotate(tmp_path, *games).returncode == 0
        assert out.read_bytes() == before


@pytest.mark.parametrize("habit", ["dies", "hangs"])
def test_a_teacher_that_fails_is_started_anew_and_the_game_is_played(tmp_path: Path, habit: str) -> None:
    run = annotate(tmp_path, "--games", "2", "--plies", "12", "--patience", "1", habit=habit)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "failed").exists()
    assert (tmp_path / "starts").read_text().count("start") == 2
    assert rounds(tmp_path) == [1, 2]
    assert "0 lost by the teacher" in run.stdout


def test_a_game_at_which_the_teacher_always_fails_is_skipped_and_named(tmp_path: Path) -> None:
    given = tmp_path / "given.pgn"
    given.write_text('[Event "1"]\n\n1. a3 *\n\n[Event "2"]\n\n1. h3 *\n', encoding="utf-8")
    run = annotate(tmp_path, "given.pgn", habit="hates a3")
    assert run.returncode == 0, run.stderr
    assert "lost: given.pgn, game 1: the teacher failed twice" in run.stderr
    assert "1 lost by the teacher" in run.stdout
    assert [parsed(text).headers["Event"] for text in texts(tmp_path)] == ["2"]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no signal that asks a process to end")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_whole_games(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        arguments(tmp_path, "--games", "500", "--plies", "8", habit="slow"), stderr=subprocess.PIPE, text=True
    )
    # Once the second game is being written, the first is on the disk for good.
    while not (tmp_path / "out.pgn").exists() or (tmp_path / "out.pgn").read_text().count("[Event ") < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "annotate: stopped; the same command goes on from here" in errors
    assert "Traceback" not in errors
    assert rounds(tmp_path) == list(range(1, len(rounds(tmp_path)) + 1))


@pytest.mark.parametrize(
    ("more", "habit", "complaint"),
    [
        (["--engine", "no-such-program"], "well", "the program no-such-program was not found"),
        ([], "dumb", "the teacher does not start"),
        (["--option", "Colour=red"], "well", "the teacher has no option Colour"),
        (["--openings", "bad.epd"], "well", "bad.epd, line 1"),
        (["--out", "other.pgn"], "well", "other.pgn, game 1 is not by 'Sage, 5 nodes'"),
        (["--out", "bad.epd"], "well", "bad.epd, game 1 is not by 'Sage, 5 nodes'"),
        (["other.pgn"], "well", "either name PGN files or say how many --games"),
    ],
)
def test_bad_input_gets_one_sentence(tmp_path: Path, more: list[str], habit: str, complaint: str) -> None:
    (tmp_path / "other.pgn").write_text(GIVEN, encoding="utf-8")
    (tmp_path / "bad.epd").write_text("rubbish\n", encoding="utf-8")
    run = annotate(tmp_path, "--games", "1", *more, habit=habit)
    assert run.returncode != 0
    assert complaint in run.stderr
    assert "Traceback" not in run.stderr
    assert (tmp_path / "other.pgn").read_text(encoding="utf-8") == GIVEN
    assert (tmp_path / "bad.epd").read_text(encoding="utf-8") == "rubbish\n"
