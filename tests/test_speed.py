"""scripts/speed.py: nodes a second of engines, in turns."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Takes so long for a move, and says that it searched so many nodes; writes down whose turn it is.
STEADY = """\
import sys, time
import chess
seconds, nodes, log = float(sys.argv[1]), sys.argv[2], sys.argv[3]
for line in sys.stdin:
    word, _, rest = line.strip().partition(" ")
    if word == "uci":
        print("id name Steady\\nuciok", flush=True)
    elif word == "isready":
        print("readyok", flush=True)
    elif word == "position":
        fen, _, moves = rest.removeprefix("fen ").partition(" moves")
        board = chess.Board() if fen == "startpos" else chess.Board(fen)
    elif word == "go":
        with open(log, "a") as file:
            file.write(nodes + "\\n")
        time.sleep(seconds)
        told = f"nodes {nodes}" if int(nodes) else ""
        print(f"info depth 1 {told} score cp 0\\nbestmove {next(iter(board.legal_moves))}", flush=True)
    elif word == "quit":
        break
"""


def speed(tmp_path: Path, *engines: tuple[str, float, int], turns: int = 1) -> subprocess.CompletedProcess[str]:
    program, log = tmp_path / "steady.py", tmp_path / "log"
    program.write_text(STEADY)
    words = [
        word
        for name, seconds, nodes in engines
        for word in ("--engine", f"name={name}", f"cmd={sys.executable}", f"args={program} {seconds} {nodes} {log}")
    ]
    command = [
        sys.executable,
        ROOT / "scripts" / "speed.py",
        *words,
        "--turns",
        turns,
        "--json",
        tmp_path / "speed.json",
    ]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def test_engines_search_in_turns_and_the_first_turn_does_not_count(tmp_path: Path) -> None:
    done = speed(tmp_path, ("slow", 0.02, 100), ("fast", 0.02, 300), turns=2)
    assert done.returncode == 0, done.stderr
    slow, fast = json.loads((tmp_path / "speed.json").read_text())
    assert [slow["name"], fast["name"]] == ["slow", "fast"]
    assert len(slow["nodes_per_second"]) == len(fast["nodes_per_second"]) == 2
    # As many searches, which take as long: only what else the machine does makes a difference.
    assert 0 < max(slow["nodes_per_second"]) <= 100 / 0.02
    assert 0 < max(fast["nodes_per_second"]) <= 300 / 0.02
    order = (tmp_path / "log").read_text().split()
    assert order == [*["100"] * 12, *["300"] * 12] * 3
    assert "slow  " in done.stdout
    assert "of slow's" in done.stdout


def test_an_engine_that_does_not_tell_its_nodes_is_named(tmp_path: Path) -> None:
    done = speed(tmp_path, ("mute", 0, 0))
    assert done.returncode != 0
    assert done.stderr.endswith("speed: mute does not tell its nodes\n")
