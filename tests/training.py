"""Small training runs, for tests."""

from __future__ import annotations

import csv
import random
import subprocess
import sys
from pathlib import Path

import chess
import chess.pgn

SCRIPTS = Path(__file__).parent.parent / "scripts"
sys.path.insert(0, str(SCRIPTS))
import train as train_script  # noqa: E402

TINY = [
    "--preset",
    "tiny",
    "--batch",
    "16",
    "--held-out",
    "64",
    "--part",
    "6",
    "--threads",
    "2",
    "--checkpoint-every",
    "4",
    "--evaluate-every",
    "4",
    "--learning-rate",
    "0.003",
]
"""Arguments of a run of train.py; stage 2 takes all but the preset."""


def run_script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, whatever that is."""
    command = [sys.executable, str(SCRIPTS / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def train(*arguments: object) -> None:
    """Run train.py in this process, which saves seconds of imports; raises SystemExit where it fails."""
    train_script.main([str(argument) for argument in arguments])


def train_retrieval(data: Path, backbone: Path, memory: Path, run: Path, *options: object) -> None:
    """Stage 2 in this process, on the backbone of the run in the folder `backbone`."""
    files = ["--data", data, "--weights", backbone / "weights.safetensors", "--memory", memory, "--run", run]
    train("retrieval", *files, "--neighbours", 4, *TINY[2:], *options)


def curve(run: Path) -> list[tuple[str, ...]]:
    """The learning curve without its times: step, policy loss, value loss and top-1 on held-out positions."""
    with (run / "held_out.csv").open(newline="") as file:
        return [(row["step"], row["policy_loss"], row["value_loss"], row["top1"]) for row in csv.DictReader(file)]


def write_random_games(path: Path) -> None:
    """60 short random games, where the better move always captures if it can."""
    rng = random.Random(7)
    with path.open("w") as file:
        for _ in range(60):
            game = chess.pgn.Game()
            node: chess.pgn.GameNode = game
            board = game.board()
            for _ in range(40):
                moves = list(board.legal_moves)
                if not moves:
                    break
                captures = [move for move in moves if board.is_capture(move)]
                move = rng.choice(captures or moves)
                node = node.add_variation(move)
                board.push(move)
            game.headers["Result"] = rng.choice(["1-0", "0-1", "1/2-1/2"])
            print(game, file=file, end="\n\n")
