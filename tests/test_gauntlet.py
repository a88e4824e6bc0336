"""scripts/gauntlet.py from the outside: a match that has been played already is only summed up."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import chess
import pytest

ROOT = Path(__file__).resolve().parent.parent
OPENINGS = ROOT / "tests" / "positions" / "openings.epd"

HANDWRITTEN = """\
[Event "5+0.1"]
[White "Dejavu"]
[Black "Stockfish 1350"]
[Result "1-0"]
[Termination "normal"]

1. e4 e5 2. Qh5 Nc6 3. Bc4 Nf6 4. Qxf7# {White mates} 1-0

[Event "5+0.1"]
[White "Stockfish 1350"]
[Black "Dejavu"]
[Result "1-0"]
[Termination "time forfeit"]

1. e4 {book} e5 {+0.10/3 5.400s, Black loses on time (12ms overrun)} 1-0

[Event "5+0.1"]
[White "Dejavu"]
[Black "Stockfish 1350"]
[Result "1-0"]
[Termination "illegal move"]

1. e4 {Black makes an illegal move: e7e4} 1-0

[Event "5+0.1"]
[White "Stockfish 1350"]
[Black "Dejavu"]
[Result "1/2-1/2"]
[Termination "normal"]

1. Nf3 Nf6 2. Ng1 Ng8 3. Nf3 Nf6 4. Ng1 Ng8 {Draw by 3-fold repetition} 1/2-1/2

[Event "5+0.1"]
[White "Dejavu"]
[Black "Stockfish 1350"]
[Result "0-1"]
[Termination "abandoned"]

1. e4 e5 {+0.10/3 0.1s, White disconnects} 0-1

[Event "5+0.1"]
[White "Stockfish 1350"]
[Black "Dejavu"]
[Result "0-1"]
[Termination "abandoned"]

1. e4 e5 {+0.10/3 0.1s, White's connection stalls} 0-1

[Event "5+0.1"]
[White "Dejavu"]
[Black "Stockfish 1350"]
[Result "0-1"]
[Termination "unterminated"]

1. e4 {Game interrupted} 0-1
"""

STOCKFISH = """\
import sys
for line in sys.stdin:
    if line.strip() == "uci":
        print("option name UCI_LimitStrength type check default false")
        print("option name UCI_Elo type spin default 1350 min 1350 max 2850\\nuciok", flush=True)
    elif line.strip() == "isready":
        print("readyok", flush=True)
    elif line.strip() == "quit":
        break
"""

# Stands for fastchess: writes a drawn game for every one that it is asked to play.
RECORDER = """\
import sys
from pathlib import Path
arguments = sys.argv[1:]
value = dict(a.split("=", 1) for a in arguments if "=" in a)
names = [a[5:] for a in arguments if a.startswith("name=")]
per_opening = int(arguments[arguments.index("-games") + 1])
assert per_opening == 2 or "-noswap" in arguments
openings = [l.split(" hmvc")[0] for l in Path("remaining.epd").read_text(encoding="utf-8").splitlines()]
assert int(arguments[arguments.index("-rounds") + 1]) == len(openings)
pgn = next(a[5:] for a in arguments if a.startswith("file=") and a.endswith(".pgn"))
event = arguments[arguments.index("-event") + 1]
with open(pgn, "a", encoding="utf-8") as file:
    for epd in openings:
        for white, black in [names, names[::-1]][:per_opening]:
            file.write(
                f'[Event "{event}"]\\n[White "{white}"]\\n[Black "{black}"]\\n[Result "1/2-1/2"]\\n'
                f'[SetUp "1"]\\n[FEN "{epd} 0 1"]\\n[Termination "normal"]\\n\\n1/2-1/2\\n\\n'
            )
"""


def program(folder: Path, name: str, source: str) -> Path:
    """Write a Python program that can be started without naming the interpreter."""
    script = folder / f"{name}.py"
    script.write_text(source, encoding="utf-8")
    windows = sys.platform == "win32"
    launcher = folder / (f"{name}.bat" if windows else name)
    launcher.write_text(
        f'@"{sys.executable}" "{script}" %*\n' if windows else f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n',
        encoding="utf-8",
    )
    launcher.chmod(0o755)
    return launcher


def gauntlet(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script on the folder `out`."""
    command = [sys.executable, str(ROOT / "scripts" / "gauntlet.py"), "--out", str(out), *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


def summary(folder: Path, games: str, pgn: str, *arguments: str) -> str:
    """Return what the script says of a PGN that holds the whole match, whose one opening is the start."""
    (folder / "games.pgn").write_text(pgn, encoding="utf-8")
    (folder / "start.epd").write_text(chess.Board().epd() + "\n", encoding="utf-8")
    openings = str(folder / "start.epd")
    result = gauntlet(folder, "--tc", "5+0.1", "--games", games, "--openings", openings, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def match(white_points: str) -> str:
    """Return a PGN of games with these results ("1", "=" or "0" for White), Dejavu's colours alternating."""
    results = {"1": "1-0", "=": "1/2-1/2", "0": "0-1"}
    pgn = ""
    for number, points in enumerate(white_points):
        players = ["Dejavu", "Stockfish 1350"][:: -1 if number % 2 else 1]
        result = results[points]
        pgn += f'[Event "5+0.1"]\n[White "{players[0]}"]\n[Black "{players[1]}"]\n[Result "{result}"]\n\n'
        pgn += f"1. e4 {result}\n\n"
    return pgn


def test_scores_are_counted_by_colour_and_unfinished_games_are_not(tmp_path: Path) -> None:
    text = summary(tmp_path, "6", HANDWRITTEN)
    assert "6 games, won-drawn-lost 3-1-2 (White 2-0-1, Black 1-1-1)" in text
    assert "score 58.3 %" in text


def test_unusual_endings_are_charged_to_the_loser(tmp_path: Path) -> None:
    text = summary(tmp_path, "6", HANDWRITTEN)
    by_side = dict(re.findall(r"^(\w+(?: \w+)?) +(\d+ +\d+)$", text, re.MULTILINE))
    assert {ending: tuple(map(int, counts.split())) for ending, counts in by_side.items()} == {
        "time forfeit": (1, 0),
        "illegal move": (0, 1),
        "disconnect": (1, 0),
        "stall": (0, 1),
        "abandoned": (0, 0),
    }


@pytest.mark.parametrize(
    ("white_points", "elo", "low", "high"),
    [
        # Wins with White and losses with Black (1 for White in both): even.
        ("1111", "+0", "-301", "+301"),
        # 75 % is 400 log10(3); Wilson's interval of 3 in 4 is 30.06 % to 95.44 %.
        ("1011", "+191", "-147", "+528"),
        # At 0 and 100 % the finite end is n / (n + z^2): 2 / 5.84 and, for four losses, 1 - 4 / 7.84.
        ("10", "+inf", "-113", "+inf"),
        ("0101", "-inf", "-inf", "-7"),
    ],
)
def test_elo_difference(tmp_path: Path, white_points: str, elo: str, low: str, high: str) -> None:
    text = summary(tmp_path, str(len(white_points)), match(white_points))
    assert f"Elo difference {elo}, 95 % interval [{low}, {high}]" in text


def test_only_missing_games_are_played_and_colours_stay_balanced(tmp_path: Path) -> None:
    first, second = OPENINGS.read_text(encoding="utf-8").splitlines()[:2]
    openings = tmp_path / "two.epd"
    openings.write_text(f"{first}\n{second}\n", encoding="utf-8")
    fen = chess.Board.from_epd(second)[0].fen()
    there = (
        f'[Event "5+0.1"]\n[White "Dejavu"]\n[Black "Stockfish 1350"]\n[Result "1-0"]\n[SetUp "1"]\n'
        f'[FEN "{fen}"]\n\n1-0\n\n'
    )
    (tmp_path / "games.pgn").write_text(there, encoding="utf-8")
    arguments = ["--tc", "5+0.1", "--games", "4", "--openings", str(openings)]
    arguments += ["--fastchess", str(program(tmp_path, "recorder", RECORDER))]
    arguments += ["--stockfish", str(program(tmp_path, "stockfish", STOCKFISH))]
    arguments += ["--engine", str(program(tmp_path, "dejavu", STOCKFISH))]
    result = gauntlet(tmp_path, *arguments)
    assert result.returncode == 0, result.stderr
    assert "4 games, won-drawn-lost 1-3-0 (White 1-1-0, Black 0-2-0)" in result.stdout
    played = (tmp_path / "games.pgn").read_text(encoding="utf-8")
    assert played.count(chess.Board.from_epd(first)[0].epd()) == 2
    assert played.count(chess.Board.from_epd(second)[0].epd()) == 2
    again = gauntlet(tmp_path, *arguments)
    assert again.stdout == result.stdout
    assert (tmp_path / "games.pgn").read_text(encoding="utf-8") == played


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--elo", "1320"], "Stockfish 1320 does not take UCI_Elo=1320 (it takes 1350 to 2850)"),
        (["--option", "Colour=red"], "Dejavu has no option Colour"),
    ],
)
def test_options_that_an_engine_would_ignore_stop_the_match(
    tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    arguments = ["--nodes", "1", *arguments, "--fastchess", str(program(tmp_path, "recorder", RECORDER))]
    arguments += ["--stockfish", str(program(tmp_path, "stockfish", STOCKFISH))]
    arguments += ["--engine", str(program(tmp_path, "dejavu", STOCKFISH))]
    result = gauntlet(tmp_path, *arguments)
    assert result.returncode == 2
    assert result.stderr == f"gauntlet: {complaint}\n"
    assert not (tmp_path / "games.pgn").exists()


@pytest.mark.parametrize(
    ("pgn", "arguments", "complaint"),
    [
        (HANDWRITTEN, ["--tc", "10+0.1"], "was played at '5+0.1', not '10+0.1'"),
        (HANDWRITTEN, ["--tc", "5+0.1", "--elo", "1600"], "is between Dejavu and Stockfish 1350"),
        (HANDWRITTEN, ["--tc", "5+0.1", "--option", "UseMemory=false"], "was played at '5+0.1', not"),
        (HANDWRITTEN.replace("1. Nf3", "1. Nf4"), ["--tc", "5+0.1"], "game 4: illegal san"),
        (HANDWRITTEN, ["--tc", "5+0.1", "--openings", "absent.epd"], "absent.epd"),
        (HANDWRITTEN, ["--tc", "fast"], "'fast' is not SECONDS+INCREMENT"),
        ("", ["--tc", "5+0.1", "--stockfish", "no-such-program"], "no-such-program was not found on PATH"),
    ],
)
def test_bad_input_gets_one_sentence(tmp_path: Path, pgn: str, arguments: list[str], complaint: str) -> None:
    (tmp_path / "games.pgn").write_text(pgn, encoding="utf-8")
    result = gauntlet(tmp_path, *arguments)
    assert result.returncode == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr
    assert (tmp_path / "games.pgn").read_text(encoding="utf-8") == pgn


def test_openings_are_sixty_different_quiet_positions() -> None:
    boards = [chess.Board.from_epd(line)[0] for line in OPENINGS.read_text(encoding="utf-8").splitlines()]
    assert len({board.epd() for board in boards}) == len(boards) == 60
    assert all(board.is_valid() and not board.is_check() and board.fullmove_number <= 6 for board in boards)
