"""scripts/match.py from the outside, with scripted engines: results, failures, kills, the sequential test."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import chess
import chess.pgn
import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "match.py"


def engine(name: str, script: str = "", *words: str) -> list[str]:
    """The arguments for a scripted engine; a node limit unless `words` say otherwise."""
    pace = [] if any(word.startswith(("tc=", "st=", "movetime=")) for word in words) else ["nodes=1"]
    arguments = f"args='{ROOT / 'tests' / 'scripted_engine.py'}' {script}"
    return ["--engine", f"name={name}", f"cmd={sys.executable}", arguments, *pace, *words]


STRONG, WEAK = engine("strong", "score=900"), engine("weak", "score=-900")
RESIGN = ["--resign", "movecount=1", "score=900"]


def match(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a match whose record is folder/match.pgn."""
    command = [sys.executable, str(SCRIPT), "--pgn", str(folder / "match.pgn"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, timeout=120)


def played(folder: Path) -> list[chess.pgn.Game]:
    """The games of the record, which have to be valid."""
    games = []
    with (folder / "match.pgn").open(encoding="utf-8") as file:
        while (game := chess.pgn.read_game(file)) is not None:
            assert not game.errors
            games.append(game)
    return games


def test_every_opening_is_played_with_both_colours_and_notes_evaluation_and_time(tmp_path: Path) -> None:
    done = match(tmp_path, *STRONG, *WEAK, *RESIGN, "--games", "8", "--json", str(tmp_path / "result.json"))
    assert done.returncode == 0, done.stderr
    games = played(tmp_path)
    assert [game.headers["Result"] for game in games] == ["1-0", "0-1"] * 4
    openings = Counter((game.headers["FEN"], game.headers["White"]) for game in games)
    assert len(openings) == 8
    assert len({fen for fen, _ in openings}) == 4
    last = games[0].end()
    assert re.fullmatch(r"-9\.00/7 \d\.\d{3}s, n=42, White wins by adjudication", last.comment)
    assert games[0].headers["Termination"] == "adjudication"
    assert "Games: 8, Wins: 8, Losses: 0, Draws: 0, Points: 8.0 (100.00 %)\nPtnml(0-2): [0, 0, 0, 0, 4]" in done.stdout
    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert [(row["name"], row["wins"], row["elo"]) for row in result["players"]] == [
        ("strong", 8, None),
        ("weak", 0, None),
    ]


def test_a_game_of_so_many_moves_is_drawn(tmp_path: Path) -> None:
    done = match(tmp_path, *STRONG, *WEAK, "--games", "2", "--maxmoves", "3")
    assert done.returncode == 0, done.stderr
    for game in played(tmp_path):
        assert game.headers["Result"] == "1/2-1/2"
        assert game.headers["Termination"] == "adjudication"
        assert len(list(game.mainline_moves())) == 6


def test_another_dejavu_does_not_ask_what_its_user_has_taught_it(tmp_path: Path) -> None:
    words = {"dejavu": [], "learning": ["option.Learn=on"], "other": []}
    logs = {name: tmp_path / f"{name}.log" for name in words}
    players = [
        engine(name, f"name={'Dejavu' if name != 'other' else 'Other'} log={logs[name]}", *more)
        for name, more in words.items()
    ]
    done = match(tmp_path, *players[0], *players[1], *players[2], "--games", "2", "--draw", "movecount=1", "score=0")
    assert done.returncode == 0, done.stderr
    sent = {name: [line for line in log.read_text().splitlines() if "Learn" in line] for name, log in logs.items()}
    assert sent == {
        "dejavu": ["setoption name Learn value off"],
        "learning": ["setoption name Learn value on"],
        "other": [],
    }


def test_a_killed_match_goes_on_and_counts_every_game_once(tmp_path: Path) -> None:
    arguments = [*engine("a", "chance=1"), *engine("b", "chance=2"), *RESIGN, "--draw", "movecount=3", "score=0"]
    arguments += ["--games", "60", "--concurrency", "2"]
    pgn = tmp_path / "match.pgn"
    for kill_at in (7, 25):
        command = [sys.executable, str(SCRIPT), "--pgn", str(pgn), *arguments]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 60
            while (not pgn.exists() or pgn.read_bytes().count(b"[Event ") < kill_at) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert process.poll() is None
            process.kill()
    before = pgn.read_bytes()
    assert before.count(b"[Event ") < 60
    # As if the last kill had come in the middle of writing.
    pgn.write_bytes(before + before[: len(before) // before.count(b"[Event ") // 2])
    done = match(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert pgn.read_bytes().startswith(before)
    rounds = [game.headers["Round"] for game in played(tmp_path)]
    assert sorted(rounds) == sorted(f"{pair}.{half}" for pair in range(1, 31) for half in (1, 2))
    assert "Games: 60," in done.stdout
    again = match(tmp_path, *arguments)
    assert again.stdout == done.stdout[done.stdout.index("\nResults of") :]


def test_failures_are_named_and_counted_and_the_tournament_goes_on(tmp_path: Path) -> None:
    done = match(
        tmp_path,
        *engine("sound", "score=0"),
        *engine("crasher", "crash=2"),
        *engine("cheat", "illegal=2"),
        *engine("slow", "late=2", "tc=0.3+0.01"),
        *engine("sleeper", "hang=2"),
        *("--tournament", "gauntlet", "--games", "2", "--margin", "0", "--patience", "2", "--concurrency", "2"),
    )
    assert done.returncode == 0, done.stderr
    table = {row[0]: list(map(int, row[1:])) for row in map(str.split, done.stdout.splitlines()[-5:])}
    assert table == {
        "sound": [0, 0, 0, 0],
        "crasher": [0, 0, 2, 0],
        "cheat": [0, 2, 0, 0],
        "slow": [2, 0, 0, 0],
        "sleeper": [0, 0, 0, 2],
    }
    games = played(tmp_path)
    assert len(games) == 8
    assert {game.headers["Termination"] for game in games} == {"abandoned", "illegal move", "time forfeit"}
    for said in (
        "Black disconnects: engine process died unexpectedly (exit code: 3), out of luck",
        "White makes an illegal move: illegal uci: 'e1e8'",
        "White's connection stalls: no answer 2 seconds after stop",
    ):
        assert said in done.stderr
    assert re.search(r"slow - sound: White loses on time \(\d+ms overrun\)", done.stderr)
    assert re.search(r"^ +1 sound .* 8 100\.0 % ", done.stdout, re.MULTILINE)


def test_the_sequential_test_ends_the_match(tmp_path: Path) -> None:
    arguments = [*engine("a", "score=900"), *engine("b", "chance=3"), *RESIGN, "--draw", "score=1000"]
    arguments += ["--games", "1000", "--concurrency", "2", "--sprt", "elo0=0", "elo1=200"]
    done = match(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert "H1 accepted: Elo 200" in done.stdout
    count = len(played(tmp_path))
    assert count < 200
    assert match(tmp_path, *arguments).stdout == done.stdout[done.stdout.index("\nResults of") :]
    assert len(played(tmp_path)) == count


def test_games_go_to_their_end_on_the_board(tmp_path: Path) -> None:
    opening = tmp_path / "mates.pgn"
    opening.write_text("1. f3 e5 2. g4 *\n\n1. e4 e5 2. Bc4 Nc6 3. Qh5 Nf6 *\n", encoding="utf-8")
    done = match(tmp_path, *engine("a"), *engine("b"), "--games", "4", "--openings", str(opening))
    assert done.returncode == 0, done.stderr
    games = played(tmp_path)
    assert Counter(game.end().comment.rpartition(", ")[2] for game in games) == {"White mates": 2, "Black mates": 2}
    assert {game.headers["PlyCount"] for game in games} == {"4", "7"}
    assert all(game.variations[0].comment == "book" and game.headers["Termination"] == "normal" for game in games)


def test_a_tournament_of_three_has_a_crosstable(tmp_path: Path) -> None:
    done = match(
        tmp_path, *STRONG, *WEAK, *engine("middle", "score=0"), *RESIGN, "--draw", "score=1000", "--games", "2"
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if re.match(r" +\d (strong|middle|weak) ", line)]
    assert [row[1] for row in rows] == ["strong", "middle", "weak"]
    assert " ".join(rows[0][4:]) == "4 75.0 % . +0 =2 -0 +2 =0 -0"


def test_a_pgn_of_fastchess_is_summed_up_by_its_formulas(tmp_path: Path) -> None:
    text = ""
    for round_number, (first, second) in enumerate([("1-0", "0-1"), ("1/2-1/2", "1/2-1/2"), ("0-1", "1/2-1/2")], 1):
        for white, black, result in (("new", "old", first), ("old", "new", second)):
            text += f'[Event "Fastchess Tournament"]\n[Round "{round_number}"]\n[White "{white}"]\n[Black "{black}"]\n'
            text += f'[Result "{result}"]\n[Termination "normal"]\n\n1. e4 {{+0.3/9 0.1s, Somebody wins}} {result}\n\n'
    text += '[Event "?"]\n[Round "4"]\n[White "new"]\n[Black "old"]\n[Result "0-1"]\n[Termination "time forfeit"]\n\n'
    text += "1. e4 {+0.3/9 0.1s} e5 {+0.3/9 0.1s, White loses on time (7ms overrun)} 0-1\n"
    text += '\n[Event "?"]\n[White "new"]\n[Black "old"]\n[Result "*"]\n[Termination "unterminated"]\n\n1. e4 *\n'
    (tmp_path / "match.pgn").write_text(text, encoding="utf-8")
    done = match(tmp_path, "--from-pgn", str(tmp_path / "match.pgn"), "--first", "old")
    assert done.returncode == 0, done.stderr
    assert "Results of old vs new:" in done.stdout
    assert "Games: 7, Wins: 2, Losses: 2, Draws: 3, Points: 3.5 (50.00 %)" in done.stdout
    assert "Ptnml(0-2): [1, 0, 1, 1, 0], WL/DD Ratio: 0.00" in done.stdout
    assert "of 3 pairs; games without their partner: 1" in done.stdout
    assert re.search(r"^new +1 +0 +0 +0$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([*STRONG], "a match needs two engines: give --engine twice or more"),
        ([*STRONG, *STRONG], "two engines are called strong; give each its name="),
        ([*STRONG, *engine("b", "", "tc=fast")], "'fast' is not a time control such as 10+0.1, 2:30+1 or 40/60+1"),
        ([*STRONG, *engine("b", "", "colour=red")], "not by 'colour=red'"),
        ([*STRONG, *engine("b", "", "nodes=0")], "'nodes=0' needs a number above 0"),
        ([*STRONG, "--engine", "name=b", f"cmd={sys.executable}"], "b has no limit"),
        (
            [*STRONG, "--engine", "name=b", "cmd=no-such-program", "nodes=1"],
            "the program no-such-program was not found",
        ),
        ([*STRONG, *engine("b", "startup=fail")], "b does not start as `"),
        ([*STRONG, *engine("b", "", "option.Colour=red")], "b has no option Colour"),
        ([*STRONG, *engine("b", "", "option.Hash=65")], "b does not take Hash=65 (it takes 1 to 64)"),
        ([*STRONG, *WEAK, "--sprt", "elo0=0"], "--sprt needs elo0=N and elo1=N"),
        (
            [*STRONG, *WEAK, "--sprt", "elo0=0", "elo1=300"],
            "elo0 and elo1 of the normalized model have to lie within 200",
        ),
        (
            [*STRONG, *WEAK, "--batched", "8"],
            "strong has a command; games are batched between option sets of this Dejavu",
        ),
        ([*STRONG, *WEAK, "--resign", "movecount=0"], "--resign takes movecount, score, twosided as KEY=VALUE"),
        ([*STRONG, *WEAK, "--sprt", "elo0=5", "elo1=0"], "elo0 has to be less than elo1, not 5 and 0"),
        (
            [*STRONG, *WEAK, "--draw", "moves=3"],
            "--draw takes movenumber, movecount, score as KEY=VALUE, not 'moves=3'",
        ),
        ([*STRONG, *WEAK, "--openings", "absent.epd"], "absent.epd"),
        (["--from-pgn", "absent.pgn"], "absent.pgn"),
        (
            [*STRONG, "--engine", "name=b", "nodes=1", "option.WeightsFile=absent.safetensors"],
            "b: cannot load the weights: weights file absent.safetensors does not exist",
        ),
    ],
)
def test_bad_input_gets_one_sentence(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    done = match(tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("match: ")
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "match.pgn").exists()


def test_a_record_of_another_match_is_left_alone(tmp_path: Path) -> None:
    arguments = [*RESIGN, "--games", "2"]
    match(tmp_path, *STRONG, *WEAK, *arguments)
    before = (tmp_path / "match.pgn").read_bytes()
    for others, header in (
        ([*STRONG, *engine("other")], "Black 'weak', not 'other'"),
        ([*STRONG, *WEAK, "--seed", "2"], "Event 'openings.epd, seed 1', not 'openings.epd, seed 2'"),
        ([*STRONG, *engine("weak", "", "option.Hash=2")], "BlackSettings '1 nodes', not '1 nodes, Hash=2'"),
    ):
        done = match(tmp_path, *others, *arguments)
        assert done.returncode == 1
        assert f"game 1 was played with {header}; choose another --pgn" in done.stderr
    assert (tmp_path / "match.pgn").read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGINT to send elsewhere")
def test_a_match_that_is_stopped_sums_up_and_leaves_no_engine(tmp_path: Path) -> None:
    log = tmp_path / "log"
    arguments = [*engine("a", f"log={log} hang=3"), *engine("b"), "--games", "2"]
    command = [sys.executable, str(SCRIPT), "--pgn", str(tmp_path / "match.pgn"), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while (not log.exists() or log.read_text().count("\ngo ") < 3) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == "match: stopped; the same command goes on from here\n"
    assert "no games yet" in out
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text().split()[1]), 0)
